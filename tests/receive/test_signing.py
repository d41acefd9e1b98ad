"""Submitted mail is signed as the last thing that happens to it, in the names that its user may use."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deliver.messages import envelope, message
from message.zone_lookup import ZoneLookup
from postroad.clock import SystemClock
from postroad.compose.signing import Signer
from postroad.config import Config
from postroad.config.signing import DkimKeySettings, DkimSection
from postroad.config.values import ServerSection
from postroad.message.arc import Chain, validate
from postroad.message.dkim import DkimResult, Verdict, verify
from postroad.message.dkim_key import Algorithm, key_record
from postroad.receive.caller import Caller, Role
from postroad.receive.checks import Amended
from postroad.smtp.address import NULL, Address
from postroad.smtp.extension import MailParameters
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import MailReceived, MessageReceived
from postroad.store.accounts import Account, may_send_as
from postroad.store.dkim_keys import DkimKeys
from postroad.store.spool import SpooledMessage, Trace

ANN = Account(name="ann", password_hash="", identities=("*@example.org", "*@sub.example.org", "*@other.example"))
TEXT = b"From: Ann <ann@example.org>\r\nSubject: hello\r\n\r\nbody\r\n"
BOTH = (Algorithm.RSA, Algorithm.ED25519)


def configuration(state: Path, **changes: Any) -> Config:
    return Config(server=ServerSection(hostname="mail.example.org", state_dir=str(state)), **changes)


def signer_of(config: Config) -> Signer:
    return Signer(config, SystemClock(), lambda user, address: user == "ann" and may_send_as(ANN, address))


@pytest.fixture
def keys(tmp_path: Path) -> DkimKeys:
    made = DkimKeys(tmp_path / "dkim")
    new = made.make("example.org", BOTH, now=1.0)
    made.activate("example.org", [one.selector for one in new], now=2.0)
    return made


@pytest.fixture
def signer(tmp_path: Path, keys: DkimKeys) -> Iterator[Signer]:
    made = signer_of(configuration(tmp_path))
    yield made
    made.close()


def lookup(keys: DkimKeys) -> ZoneLookup:
    return ZoneLookup(
        {
            f"{one.selector}._domainkey.{one.domain}": {"TXT": [key_record(keys.private(one))]}
            for domain in keys.domains()
            for one in keys.keys(domain)
        }
    )


def results(text: bytes, keys: DkimKeys) -> list[DkimResult]:
    return asyncio.run(verify(text, lookup(keys).texts, now=SystemClock().wall()))


def submitted(signer: Signer, text: bytes = TEXT, account: Account = ANN) -> Any:
    """What the check says: None, a reply, or the octets that go on."""
    (check,) = signer.checks().message
    caller = Caller("198.51.100.1", 4000, Role.SUBMISSION, account=account)
    sender = MailReceived(Address("ann", "example.org"), MailParameters())
    decision: Any = check(caller, MessageReceived(sender, (), text))

    async def wait() -> Any:
        return await decision

    said = asyncio.run(wait()) if inspect.isawaitable(decision) else decision
    return said.event.body if isinstance(said, Amended) else said


def test_a02_a_users_mail_is_signed_by_both_keys_with_the_date_and_id_that_it_lacked(
    signer: Signer, keys: DkimKeys
) -> None:
    text = submitted(signer)
    assert [one.verdict for one in results(text, keys)] == [Verdict.PASS, Verdict.PASS]
    header = text.partition(b"\r\n\r\n")[0]
    assert header.count(b"\r\nDate: ") == 1 and header.count(b"\r\nMessage-ID: ") == 1
    changed = text.replace(b"\r\nDate: ", b"\r\nDate: x\r\nDate: ", 1)
    assert [one.verdict for one in results(changed, keys)] == [Verdict.FAIL, Verdict.FAIL]


def test_mail_of_a_subdomain_is_signed_by_the_nearest_domain_that_has_keys(signer: Signer, keys: DkimKeys) -> None:
    text = submitted(signer, TEXT.replace(b"ann@example.org", b"ann@sub.example.org"))
    assert [(one.verdict, one.domain) for one in results(text, keys)] == [(Verdict.PASS, "example.org")] * 2


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace(b"ann@example.org", b"ann@other.example"),
        TEXT.replace(b"ann@example.org", b"ann@notexample.org"),
        b"Subject: no author\r\n\r\nbody\r\n",
        b"",
    ],
)
def test_mail_of_a_domain_without_keys_goes_on_as_it_is(signer: Signer, text: bytes) -> None:
    assert submitted(signer, text) is None


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace(b"<ann@example.org>", b"<boss@example.org>, ann@elsewhere.example"),
        b"From: eve@example.org\r\n" + TEXT,
    ],
)
def test_nobody_has_mail_signed_in_a_name_that_is_not_theirs(
    signer: Signer, text: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submitted(signer, text) is None
    assert "dkim.unsigned" in capsys.readouterr().err


def test_nobody_signs_as_another_user_of_the_same_domain(signer: Signer) -> None:
    bob = Account(name="bob", password_hash="", identities=("bob@example.org",))
    assert submitted(signer, account=bob) is None


def test_without_keys_or_when_switched_off_nothing_is_done(tmp_path: Path, keys: DkimKeys) -> None:
    off = signer_of(configuration(tmp_path, dkim=DkimSection(enabled=False)))
    assert not off.checks().message and not off.has_keys
    none = signer_of(configuration(tmp_path / "elsewhere"))
    assert submitted(none) is None
    off.close()
    none.close()


def test_a_key_that_cannot_be_read_leaves_the_other_to_sign_and_is_told(
    tmp_path: Path, keys: DkimKeys, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.path(keys.keys("example.org")[0]).unlink()
    signer = signer_of(configuration(tmp_path))
    text = submitted(signer)
    assert text.count(b"DKIM-Signature:") == 1
    assert "dkim.failed" in capsys.readouterr().err
    signer.refresh()
    assert capsys.readouterr().err == ""
    signer.close()


@pytest.mark.parametrize("is_required", [False, True])
def test_without_any_usable_key_mail_leaves_unsigned_or_waits_as_the_setting_says(
    tmp_path: Path, keys: DkimKeys, is_required: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for one in keys.keys("example.org"):
        keys.path(one).write_text("nothing")
    signer = signer_of(configuration(tmp_path, dkim=DkimSection(required=is_required)))
    said = submitted(signer)
    if is_required:
        assert isinstance(said, Reply) and (said.code, str(said.enhanced)) == (451, "4.7.5")
    else:
        assert said is None
    assert "dkim.unsigned" in capsys.readouterr().err
    signer.close()


def test_new_keys_sign_once_dns_shows_them(tmp_path: Path, keys: DkimKeys) -> None:
    signer = signer_of(configuration(tmp_path))
    new = keys.make("example.org", [Algorithm.ED25519], now=3.0)[0]
    signer.refresh()
    assert new.selector.encode() + b";" not in submitted(signer)
    zone = lookup(keys)

    async def shown() -> None:
        await signer._activate([new], ZoneLookup({}).texts)
        assert keys.keys("example.org")[-1].active_at is None
        await signer._activate([new], zone.texts)

    asyncio.run(shown())
    signer.refresh()
    text = submitted(signer)
    assert f"s={new.selector};".encode() in text and text.count(b"DKIM-Signature:") == 2
    signer.close()


def test_a_key_kept_elsewhere_signs_beside_the_others(tmp_path: Path, keys: DkimKeys) -> None:
    other = DkimKeys(tmp_path / "old")
    (kept,) = other.make("example.org", [Algorithm.RSA], now=1.0)
    config = configuration(
        tmp_path, dkim_key=(DkimKeySettings(domain="example.org", selector="Old", file=str(other.path(kept))),)
    )
    signer = signer_of(config)
    assert submitted(signer).count(b"DKIM-Signature:") == 3
    signer.use(configuration(tmp_path))
    assert submitted(signer).count(b"DKIM-Signature:") == 2
    signer.close()


def spooled(text: bytes, **trace: str) -> SpooledMessage:
    made = message(envelope("bob@example.net", sender=NULL), body=text)
    return replace(made, trace=Trace(**{"peer": "", "helo": "mail.example.org", "protocol": "bounce", **trace}))


@pytest.mark.parametrize("protocol", ["bounce", "report"])
def test_a02_our_own_notices_are_signed(signer: Signer, keys: DkimKeys, protocol: str) -> None:
    text = TEXT.replace(b"Ann <ann@example.org>", b"MAILER-DAEMON@mail.example.org")
    notice = spooled(text, protocol=protocol)
    finished = asyncio.run(signer.finish(notice))
    assert [one.verdict for one in results(finished.body, keys)] == [Verdict.PASS, Verdict.PASS]


def test_what_strangers_sent_is_never_signed_as_ours(signer: Signer) -> None:
    stranger = spooled(TEXT, peer="198.51.100.9", protocol="ESMTP")
    assert asyncio.run(signer.finish(stranger)) is stranger
    forwarded = spooled(TEXT, protocol="forward")
    assert asyncio.run(signer.finish(forwarded)) is forwarded
    user = spooled(TEXT, peer="198.51.100.9", protocol="ESMTPSA", user="ann")
    assert asyncio.run(signer.finish(user)).body.startswith(b"DKIM-Signature:")
    another = spooled(TEXT, peer="198.51.100.9", protocol="ESMTPSA", user="bob")
    assert asyncio.run(signer.finish(another)) is another


def test_a04_what_is_forwarded_is_sealed(signer: Signer, keys: DkimKeys) -> None:
    async def forward() -> bytes:
        chain = await validate(TEXT, lookup(keys).texts)
        return await signer.seal(TEXT, domain="example.org", chain=chain, results="mail.example.org; arc=none")

    sealed = asyncio.run(forward())
    assert asyncio.run(validate(sealed, lookup(keys).texts)).verdict is Chain.PASS
