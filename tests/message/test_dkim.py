"""DKIM signatures are believed where they should be, and nowhere else (A-02)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from message.signed import DOMAIN, MESSAGE, NOW, TIMEOUT, by_hand, ed25519_key, keys, rsa_key, verified, zone
from postroad.message.dkim import MAX_SIGNATURES, Verdict
from postroad.message.dkim_canon import canonical_body, relaxed_field, split_fields
from postroad.message.dkim_key import key_record
from postroad.message.dkim_sign import sign
from postroad.message.dkim_tags import TagError, parse_tags

RSA_RECORD = key_record(rsa_key())
PUBLIC = RSA_RECORD.partition("p=")[2]


def verdict(message: bytes, record: str | None = None, *, now: float = NOW) -> Verdict:
    """Of its only signature, by the key at r1."""
    (result,) = verified(message, zone({"r1": record} if record is not None else {}), now=now)
    assert (result.verdict is Verdict.PASS) == (not result.reason)
    return result.verdict


# What passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forms", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed", "relaxed"])
@pytest.mark.parametrize("algorithm", ["rsa-sha256", "ed25519-sha256"])
def test_a02_both_algorithms_and_all_forms_pass(forms: str, algorithm: str) -> None:
    selector = "r1" if algorithm.startswith("rsa") else "e1"
    assert verdict(by_hand(c=forms, a=algorithm, s=selector)) is Verdict.PASS


def test_a02_without_forms_both_are_simple() -> None:
    assert verdict(by_hand(c=None)) is Verdict.PASS


def test_a02_what_the_signer_claims_is_told() -> None:
    (result,) = verified(by_hand(i="news@lists.example.org", t="1699999000", x="1700009000"))
    assert (result.domain, result.selector, result.identity) == (DOMAIN, "r1", "news@lists.example.org")
    assert (result.algorithm, result.bits, len(result.signature), result.is_testing) == ("rsa-sha256", 2048, 8, False)


def test_a02_several_signatures_are_judged_each_for_itself() -> None:
    both = sign(MESSAGE, keys(), now=NOW) + MESSAGE
    assert [one.verdict for one in verified(both)] == [Verdict.PASS, Verdict.PASS]
    broken = zone({"r1": "v=DKIM1; p="})
    assert [one.verdict for one in verified(both, broken)] == [Verdict.PERMERROR, Verdict.PASS]


def test_a02_no_more_than_so_many_signatures_cost_anything() -> None:
    lookup = zone()
    message = by_hand().partition(b"\r\n")[0] + b"\r\n"
    assert len(verified(message * 100 + MESSAGE, lookup)) == MAX_SIGNATURES
    assert len(lookup.asked) == MAX_SIGNATURES


def test_a02_a_message_without_signature_has_no_result_and_asks_nothing() -> None:
    lookup = zone()
    assert verified(MESSAGE, lookup) == [] and lookup.asked == []
    assert verified(b"", lookup) == [] and verified(b"\r\nFrom: a\r\n", lookup) == []


# What fails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"this is it", b"this is not"),
        (b"Subject:  a", b"Subject:  b"),
        (b"\r\n\r\nHello", b"\r\nCc: all@example.net\r\n\r\nHello"),
        (b"From: Ann", b"From: Eve <eve@example.net>\r\nFrom: Ann"),
        (b"\r\n\r\nHello", b"\r\nReply-To: eve@example.net\r\n\r\nHello"),
        (b"\r\n\r\nHello", b"\r\nSubject: another\r\n\r\nHello"),
        (b"\r\n\r\nHello", b"\r\nContent-Type: text/html\r\n\r\nHello"),
    ],
)
def test_a02_a_change_and_an_added_field_that_readers_show_break_our_signatures(old: bytes, new: bytes) -> None:
    message = sign(MESSAGE, keys(), now=NOW) + MESSAGE
    assert MESSAGE.count(old) == 1
    changed = message[: -len(MESSAGE)] + MESSAGE.replace(old, new)
    assert [one.verdict for one in verified(changed)] == [Verdict.FAIL, Verdict.FAIL]


def test_a02_fields_that_carriers_add_break_nothing() -> None:
    message = b"Received: from a by b; now\r\nList-Id: <l.example.net>\r\n" + sign(MESSAGE, keys(), now=NOW) + MESSAGE
    assert [one.verdict for one in verified(message)] == [Verdict.PASS, Verdict.PASS]


def test_a02_l_is_believed_only_where_it_leaves_nothing_out() -> None:
    whole = len(canonical_body(split_body(MESSAGE), is_relaxed=True))
    assert verdict(by_hand(l=str(whole))) is Verdict.PASS
    assert verdict(by_hand(l=str(whole - 1))) is Verdict.POLICY
    assert verdict(by_hand(l="0")) is Verdict.POLICY
    assert verdict(by_hand(l=str(whole + 1))) is Verdict.FAIL
    added = by_hand(l=str(whole)) + b"and a word of somebody else\r\n"
    assert verdict(added) is Verdict.POLICY


def test_a02_times_are_respected() -> None:
    assert verdict(by_hand(x="1700000000"), now=1_700_000_000.0) is Verdict.PASS
    assert verdict(by_hand(x="1700000000"), now=1_700_000_001.0) is Verdict.POLICY
    assert verdict(by_hand(t="1700000200"), now=1_700_000_000.0) is Verdict.PASS
    assert verdict(by_hand(t="1700009000"), now=1_700_000_000.0) is Verdict.POLICY
    assert verdict(by_hand(t="1699999999", x="1699999999")) is Verdict.PERMERROR


def test_a02_sha1_and_short_keys_are_refused() -> None:
    assert verdict(by_hand(a="rsa-sha1", key=rsa_key())) is Verdict.POLICY
    short = rsa_key(1024)
    assert verdict(by_hand(key=short), key_record(short)) is Verdict.PASS
    assert verdict(by_hand(), f"p={SHORT}") is Verdict.POLICY


SHORT = (
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMfUwDAmZIWJ1evHYkxmWzb4GTVdtQySyLNRbyoKkrXsiIohPpdZl5JRp5kdb1kBFl6DHhR5"
    "bWiMq1NrSQvpdCcCAwEAAQ=="
)
"""An RSA key of 512 bits."""


@pytest.mark.parametrize(
    "changed",
    [
        {"v": "2"},
        {"v": None},
        {"a": None},
        {"a": "rsa-md5"},
        {"c": "nowsp"},
        {"d": None},
        {"d": "org"},
        {"d": "-bad-.example.org"},
        {"s": None},
        {"s": "a b"},
        {"s": "../x"},
        {"h": None},
        {"h": "to:subject"},
        {"bh": "no base64!"},
        {"bh": ""},
        {"l": "many"},
        {"t": "yesterday"},
        {"x": "-1"},
        {"q": "http"},
        {"i": "ann@example.net"},
        {"i": "ann@notexample.org"},
        {"i": "ann"},
        {"h": ":".join(["from"] * 501)},
    ],
)
def test_a02_a_signature_that_cannot_be_evaluated_is_permerror_and_asks_nothing(changed: dict[str, str | None]) -> None:
    lookup = zone()
    (result,) = verified(by_hand(tags=changed), lookup)
    assert (result.verdict, lookup.asked) == (Verdict.PERMERROR, [])
    assert result.reason


# Keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (f"p={PUBLIC}", Verdict.PASS),
        (f"v=DKIM1; h=sha1:sha256; s=email:other; t=; n=a note; p={PUBLIC[:40]} {PUBLIC[40:]};", Verdict.PASS),
        (f"v=DKIM1; s=*; p={PUBLIC}", Verdict.PASS),
        ("v=DKIM1; p=", Verdict.PERMERROR),
        (f"p={PUBLIC}; v=DKIM1", Verdict.PERMERROR),
        (f"v=DKIM2; p={PUBLIC}", Verdict.PERMERROR),
        (f"v=DKIM1; s=tlsrpt; p={PUBLIC}", Verdict.PERMERROR),
        (f"v=DKIM1; h=sha1; p={PUBLIC}", Verdict.PERMERROR),
        (f"v=DKIM1; k=dsa; p={PUBLIC}", Verdict.PERMERROR),
        (f"v=DKIM1; k=ed25519; p={PUBLIC}", Verdict.PERMERROR),
        (key_record(ed25519_key()), Verdict.PERMERROR),
        (f"v=DKIM1; p={PUBLIC[:-8]}", Verdict.PERMERROR),
        ("v=DKIM1; p=AAAA", Verdict.PERMERROR),
        ("v=spf1 -all", Verdict.PERMERROR),
        ("", Verdict.PERMERROR),
        (key_record(rsa_key(3072)), Verdict.FAIL),
    ],
)
def test_a02_key_records(record: str, expected: Verdict) -> None:
    assert verdict(by_hand(), record) is expected


def test_a02_a_key_that_is_missing_and_one_that_cannot_be_asked_for_are_told_apart() -> None:
    (missing,) = verified(by_hand(s="gone"))
    (later,) = verified(by_hand(), zone({"r1": TIMEOUT}))
    assert (missing.verdict, later.verdict) == (Verdict.PERMERROR, Verdict.TEMPERROR)


def test_a02_of_several_records_the_one_that_can_be_used_counts() -> None:
    (result,) = verified(by_hand(), zone({"r1": ["v=spf1 -all", RSA_RECORD]}))
    assert result.verdict is Verdict.PASS


def test_a02_a_domain_that_only_tries_is_known_and_a_strict_one_signs_for_itself_alone() -> None:
    (result,) = verified(by_hand(), zone({"r1": f"v=DKIM1; t=y:s; p={PUBLIC}"}))
    assert (result.verdict, result.is_testing) == (Verdict.PASS, True)
    strict = f"v=DKIM1; t=s; p={PUBLIC}"
    assert verdict(by_hand(i="@sub.example.org"), strict) is Verdict.PERMERROR
    assert verdict(by_hand(i="@sub.example.org")) is Verdict.PASS


def test_a02_names_may_be_international() -> None:
    lookup = zone()
    lookup.zone["r1._domainkey.xn--bcher-kva.example"] = {"TXT": [RSA_RECORD]}
    (result,) = verified(by_hand(d="bücher.example"), lookup)
    assert (result.verdict, result.domain) == (Verdict.PASS, "xn--bcher-kva.example")


# Canonical forms --------------------------------------------------------------------------------------------------


def split_body(message: bytes) -> bytes:
    return message[split_fields(message)[1] :]


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a \t b \r\n \r\n\r\n", b"a \t b \r\n \r\n", b"a b\r\n"),
        (b" a\r\n\r\nb", b" a\r\n\r\nb\r\n", b" a\r\n\r\nb\r\n"),
        (b"a \t", b"a \t\r\n", b"a\r\n"),
        (b"a\n\r\n", b"a\n\r\n", b"a\n\r\n"),
        (b"a\r\r\n\r\n", b"a\r\r\n", b"a\r\r\n"),
    ],
)
def test_a02_the_end_of_the_body_and_its_white_space(body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert canonical_body(body, is_relaxed=False) == simple
    assert canonical_body(body, is_relaxed=True) == relaxed


def test_a02_a_field_in_relaxed_form() -> None:
    assert relaxed_field(b"SUBJect \t: \t a\r\n\t  b \t") == b"subject:a b"
    assert relaxed_field(b"X:") == b"x:"


@given(st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r", b"\n", b"\r\n\r\n"]), max_size=40).map(b"".join))
def test_a02_canonical_forms_are_their_own_and_end_in_one_line_end(body: bytes) -> None:
    for is_relaxed in (False, True):
        once = canonical_body(body, is_relaxed=is_relaxed)
        assert canonical_body(once, is_relaxed=is_relaxed) == once
        assert once.endswith(b"\r\n") or (is_relaxed and not once)
        assert canonical_body(body + b"\r\n\r\n", is_relaxed=is_relaxed) in (
            once,
            canonical_body(body + b"\r\n", is_relaxed=is_relaxed),
        )


def test_a02_a_body_of_line_ends_costs_no_more_than_any_other() -> None:
    body = b"\r\n" * 500_000
    assert canonical_body(b"x" + body, is_relaxed=True) == b"x\r\n"
    assert canonical_body(b"x" + body + b"\n", is_relaxed=False).endswith(b"\r\n\n\r\n")


# Anything at all --------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_a02_no_list_of_tags_raises_anything_but_its_own_error(raw: bytes) -> None:
    try:
        tags = parse_tags(raw)
    except TagError as error:
        assert str(error).isprintable()
        return
    assert all(name and not name[0].isdigit() for name in tags)


@settings(max_examples=200)
@given(
    st.integers(0, len(by_hand()) - 1),
    st.binary(max_size=3),
    st.integers(0, 4),
)
def test_a02_a_damaged_message_never_raises_and_passes_only_where_nothing_signed_changed(
    at: int, put: bytes, taken: int
) -> None:
    message = by_hand()
    (before,) = verified(message)
    damaged = message[:at] + put + message[at + taken :]
    for result in verified(damaged):
        assert result.reason.isprintable()
        if result.verdict is Verdict.PASS:
            assert result.domain == before.domain
            fields, start = split_fields(damaged)
            kept = {one.name: relaxed_field(one.raw) for one in fields}
            for one in split_fields(message)[0]:
                if one.name in (b"from", b"to", b"subject"):
                    assert kept[one.name] == relaxed_field(one.raw)
            assert canonical_body(damaged[start:], is_relaxed=True) == canonical_body(
                split_body(message), is_relaxed=True
            )


def test_a02_signatures_are_told_apart_by_their_first_characters() -> None:
    message = by_hand()
    (result,) = verified(message)
    value = message.partition(b"; b=")[2].partition(b"\r\n")[0]
    assert base64.b64decode(value) and value.startswith(result.signature.encode())


def test_a02_a_header_of_ever_so_many_lines_costs_nothing() -> None:
    lookup = zone()
    message = by_hand()
    assert verified(message[: -len(MESSAGE)] + b"a:\r\n" * 20_000 + MESSAGE, lookup) == []
    assert lookup.asked == []
