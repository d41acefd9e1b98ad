"""SASL exchanges, each side alone and both against each other."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.smtp.sasl import (
    SCRAM,
    Challenge,
    ClientExchange,
    Failed,
    PasswordOffered,
    SaslError,
    ScramKeysWanted,
    ServerExchange,
    ServerStep,
    Succeeded,
    choose,
    make_scram_keys,
)

KEYS = make_scram_keys("pencil", b"salt of 16 bytes")
MALFORMED_PLAIN = [
    b"", b"user", b"\0user", b"\0\0pass", b"\0user\0", b"\0a\0b\0c", b"\0\xff\0b", b"\0a\0" + b"x" * 1025,
]  # fmt: skip
ENDED_BY = [(b"*", "501"), (b"!!", "501 5.5.2"), (b"QQ", "501 5.5.2"), (b"\xff", "501")]
BAD_CHALLENGES = [
    b"",
    b"\xff",
    b"r=other,s=c2FsdHNhbHRzYWx0c2E=,i=4096",
    b"r=clientnoncex,s=c2FsdHNhbHRzYWx0c2E=,i=1",
    b"r=clientnoncex,s=c2FsdHNhbHRzYWx0c2E=,i=9999999",
]
UNUSABLE = [
    ("X", "u", "p", "n"),
    ("PLAIN", "", "p", "n"),
    ("PLAIN", "u", "p\0", "n"),
    (SCRAM, "u", "p", "a,b"),
    ("LOGIN", "u", "\ud800", "n"),
]


def test_s26_plain_hands_on_the_three_fields() -> None:
    step = ServerExchange("PLAIN", nonce="n").start(b"boss\0user\0p\xc3\xa4ss")
    assert step == PasswordOffered("user", "boss", "päss")
    assert "päss" not in repr(step)


def test_s25_plain_without_initial_response_is_challenged_with_nothing() -> None:
    exchange = ServerExchange("plain", nonce="n")
    assert exchange.start(None) == Challenge(b"")
    assert exchange.receive_line(b64encode(b"\0user\0pass")) == PasswordOffered("user", "", "pass")


@pytest.mark.parametrize("response", MALFORMED_PLAIN)
def test_s25_malformed_plain_is_501(response: bytes) -> None:
    step = ServerExchange("PLAIN", nonce="n").start(response)
    assert isinstance(step, Failed)
    assert str(step.reply).startswith("501 5.5.2")


@pytest.mark.parametrize("has_initial", [True, False])
def test_s26_login_asks_for_name_and_password(has_initial: bool) -> None:
    exchange = ServerExchange("LOGIN", nonce="n")
    if has_initial:
        step = exchange.start(b"user")
    else:
        assert exchange.start(None) == Challenge(b"Username:")
        step = exchange.receive_line(b64encode(b"user"))
    assert isinstance(step, Challenge)
    assert step.encoded() == b"UGFzc3dvcmQ6"
    assert exchange.receive_line(b64encode(b"pass")) == PasswordOffered("user", "", "pass")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", SCRAM])
@pytest.mark.parametrize(("line", "said"), ENDED_BY)
def test_s25_star_cancels_and_bad_base64_is_refused(mechanism: str, line: bytes, said: str) -> None:
    exchange = ServerExchange(mechanism, nonce="n")
    exchange.start(None)
    step = exchange.receive_line(line)
    assert isinstance(step, Failed)
    assert str(step.reply).startswith(said)


def test_s25_unknown_mechanism_is_504() -> None:
    step = ServerExchange("GSSAPI", nonce="n").start(b"x")
    assert isinstance(step, Failed)
    assert step.reply.code == 504


def converse(client: ClientExchange, *, has_initial: bool = True) -> ServerStep:
    exchange = ServerExchange(client.mechanism, nonce="servernonce")
    step = exchange.start(client.initial() if has_initial else None)
    for _ in range(6):
        if isinstance(step, ScramKeysWanted):
            step = exchange.keys(KEYS)
        elif isinstance(step, Challenge):
            step = exchange.receive_line(b64encode(client.respond(step.data)))
        else:
            break
    return step


@pytest.mark.parametrize("has_initial", [True, False])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", SCRAM])
def test_s26_our_client_against_our_server(mechanism: str, has_initial: bool) -> None:
    client = ClientExchange(mechanism, "us,e=r", "pencil", "clientnonce")
    assert not client.is_complete
    step = converse(client, has_initial=has_initial or mechanism == "LOGIN")
    expected = Succeeded("us,e=r") if mechanism == SCRAM else PasswordOffered("us,e=r", "", "pencil")
    assert step == expected
    assert client.is_complete


def test_s25_s26_wrong_password_over_scram_is_535() -> None:
    client = ClientExchange(SCRAM, "user", "wrong", "clientnonce")
    step = converse(client)
    assert isinstance(step, Failed)
    assert str(step.reply).startswith("535 5.7.8")
    assert step.username == "user"
    assert not client.is_complete


def test_s26_example_of_rfc_7677() -> None:
    nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    keys = make_scram_keys("pencil", bytes.fromhex("5b6d99689d12358e ec a04b141236fa81"), 4096)
    exchange = ServerExchange(SCRAM, nonce=nonce)
    assert exchange.start(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == ScramKeysWanted("user")
    first = exchange.keys(keys)
    assert first == Challenge(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    proof = b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    final = exchange.receive_line(b64encode(b"c=biws,r=rOprNGfwEbeRWgbNEkqO" + nonce.encode() + b"," + proof))
    assert final == Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert exchange.receive_line(b"") == Succeeded("user")


def test_s26_server_that_cannot_prove_itself_is_not_believed() -> None:
    client = ClientExchange(SCRAM, "user", "pencil", "clientnonce")
    exchange = ServerExchange(SCRAM, nonce="servernonce")
    exchange.start(client.initial())
    challenge = exchange.keys(KEYS)
    assert isinstance(challenge, Challenge)
    client.respond(challenge.data)
    with pytest.raises(SaslError):
        client.verify_final(b"v=" + b64encode(bytes(32)))
    assert not client.is_complete


@pytest.mark.parametrize("challenge", BAD_CHALLENGES)
def test_h10_client_refuses_a_bad_scram_challenge(challenge: bytes) -> None:
    client = ClientExchange(SCRAM, "user", "pencil", "clientnonce")
    client.initial()
    with pytest.raises(SaslError):
        client.respond(challenge)


def test_unusable_client_arguments_raise_sasl_error() -> None:
    for mechanism, username, password, nonce in UNUSABLE:
        with pytest.raises(SaslError):
            ClientExchange(mechanism, username, password, nonce)
    with pytest.raises(ValueError, match="no SCRAM keys"):
        make_scram_keys("p", b"short")


def test_client_is_not_led_on_after_all_was_said() -> None:
    client = ClientExchange("PLAIN", "u", "p", "n")
    assert client.initial() == b"\0u\0p"
    with pytest.raises(SaslError):
        client.respond(b"more")
    with pytest.raises(SaslError):
        client.verify_final(b"v=x")


def test_c12_choice_is_the_strongest_and_never_plain_in_the_clear() -> None:
    assert choose(["LOGIN", "plain", "scram-sha-256"], tls=True) == SCRAM
    assert choose(["LOGIN", "PLAIN"], tls=True) == "PLAIN"
    assert choose(["LOGIN", "PLAIN"], tls=False) is None
    assert choose([SCRAM, "PLAIN"], tls=False) == SCRAM
    assert choose(["GSSAPI"], tls=True) is None


@settings(max_examples=150)
@given(
    st.sampled_from(["PLAIN", "LOGIN", SCRAM]),
    st.none() | st.binary(max_size=40),
    st.lists(st.binary(max_size=40), max_size=3),
)
def test_s25_no_client_makes_the_server_raise(mechanism: str, initial: bytes | None, lines: list[bytes]) -> None:
    exchange = ServerExchange(mechanism, nonce="n")
    step = exchange.start(initial)
    for line in lines:
        if isinstance(step, ScramKeysWanted):
            step = exchange.keys(KEYS)
        elif isinstance(step, Challenge):
            step = exchange.receive_line(b64encode(line))


@settings(max_examples=100)
@given(st.text("nrpcyasi=,+0\xe9\u00ad", max_size=30), st.text("crp=,biwsn", max_size=30))
def test_s25_no_scram_message_makes_the_server_raise(first: str, final: str) -> None:
    exchange = ServerExchange(SCRAM, nonce="n")
    step = exchange.start(b"n,," + first.encode())
    if isinstance(step, ScramKeysWanted):
        exchange.keys(KEYS)
        exchange.receive_line(b64encode(final.encode()))
