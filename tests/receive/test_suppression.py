"""Who is on the list is refused at submission with the reason; list mail gets its headers, and who left gets none."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any

from postroad.message.unsubscribe import Leaving, Unsubscriber
from postroad.receive.caller import Caller, Role
from postroad.receive.checks import Amended
from postroad.receive.list_mail import ListMail
from postroad.receive.suppression import SuppressionCheck
from postroad.smtp.address import Address
from postroad.smtp.extension import MailParameters, RcptParameters
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import MailReceived, MessageReceived, RcptReceived
from postroad.store.accounts import Account
from postroad.store.facts import Cause, Suppressed

SENDER = Address("news", "shop.example")
ANN = Account(name="ann", password_hash="", identities=("*@shop.example",))


class Listed:
    """A list of those not to be mailed."""

    def __init__(self, *entries: Suppressed) -> None:
        self.entries = entries

    async def find(self, names: Sequence[str], scopes: Sequence[str]) -> Suppressed | None:
        return next((one for one in self.entries if one.name in names and one.scope in scopes), None)


def caller() -> Caller:
    made = Caller("198.51.100.1", 4000, Role.SUBMISSION, account=ANN)
    made.reverse_path = SENDER
    return made


def answer(decision: Any) -> Any:
    async def wait() -> Any:
        return await decision

    return asyncio.run(wait()) if inspect.isawaitable(decision) else decision


def asked(listed: Listed, address: str) -> Reply | None:
    check = SuppressionCheck(listed.find, lambda: not listed.entries, lambda one: one.domain == "us.test")
    decision: Reply | None = answer(check.rcpt(caller(), RcptReceived(Address.parse(address), RcptParameters())))
    return decision


def entry(name: str, cause: Cause = Cause.BOUNCED, scope: str = "", note: str = "") -> Suppressed:
    return Suppressed(name=name, cause=cause, added_at=1_790_000_000.0, note=note, scope=scope)


def test_who_bounced_is_refused_with_the_day_the_words_and_the_way_out() -> None:
    said = asked(Listed(entry("bob@a.test", note="mx.a.test said: 550 5.1.1 No such user")), "bob@a.test")
    assert said is not None and said.code == 550
    told = str(said)
    assert told.startswith("550 5.1.1 Mail to bob@a.test came back (suppressed since 2026-09-21: mx.a.test said:")
    assert told.endswith("`postroad suppress remove` lifts it")


def test_others_and_our_own_mailboxes_are_not_concerned() -> None:
    listed = Listed(entry("bob@a.test"), entry("ann@us.test"))
    assert asked(listed, "carl@a.test") is None
    assert asked(listed, "ann@us.test") is None
    assert asked(Listed(), "bob@a.test") is None


def test_an_entry_of_another_sender_stops_only_his_mail() -> None:
    assert asked(Listed(entry("bob@a.test", Cause.OPT_OUT, "other.example")), "bob@a.test") is None
    assert asked(Listed(entry("bob@a.test", Cause.OPT_OUT, "shop.example")), "bob@a.test") is not None
    said = asked(Listed(entry("a.test", Cause.BLOCKED_DOMAIN)), "bob@a.test")
    assert said is not None and "domain a.test is not to be mailed" in str(said)


def test_h05_words_of_strangers_reach_the_client_as_one_printable_line() -> None:
    said = asked(Listed(entry("bob@a.test", note="550 \x1b[31mred\r\nMAIL FROM:<x>")), "bob@a.test")
    assert said is not None and all(line.isprintable() for line in said.lines) and len(said.lines) == 1


UNSUBSCRIBER = Unsubscriber(b"s" * 32, "https://mail.example.org")


def amended(body: bytes, *recipients: str, listed: Listed | None = None) -> Reply | Amended | None:
    mail = MailReceived(SENDER, MailParameters())
    to = tuple(RcptReceived(Address.parse(one), RcptParameters()) for one in recipients or ("bob@a.test",))
    check = ListMail(UNSUBSCRIBER, None if listed is None else listed.find)
    decision: Reply | Amended | None = answer(check.message(caller(), MessageReceived(mail, to, body)))
    return decision


BODY = b"From: news@shop.example\r\nX-Postroad-List: offers\r\nSubject: hello\r\n\r\nX-Postroad-List: stays\r\n"


def test_a_message_of_a_list_gets_the_headers_of_its_recipient_and_loses_ours() -> None:
    made = amended(BODY, listed=Listed())
    assert isinstance(made, Amended)
    head, _, rest = made.event.body.partition(b"\r\n\r\n")
    assert b"X-Postroad-List" not in head and b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in head
    assert rest == b"X-Postroad-List: stays\r\n"
    token = head.split(b"/unsubscribe/")[1].split(b">")[0].decode()
    assert UNSUBSCRIBER.read(token) == Leaving("bob@a.test", "list:offers@shop.example")


def test_who_left_a_list_gets_none_of_it_and_other_mail_still() -> None:
    listed = Listed(entry("bob@a.test", Cause.OPT_OUT, "list:offers@shop.example"))
    said = amended(BODY, listed=listed)
    assert isinstance(said, Reply) and said.code == 550 and "wants no mail" in str(said)
    assert isinstance(amended(BODY.replace(b"offers", b"other"), listed=listed), Amended)
    assert amended(b"Subject: private\r\n\r\nhi\r\n", listed=listed) is None


def test_headers_of_the_senders_own_stay_and_several_recipients_get_none() -> None:
    own = b"List-Unsubscribe: <mailto:x@shop.example>\r\n" + BODY
    made = amended(own)
    assert isinstance(made, Amended) and made.event.body.count(b"List-Unsubscribe") == 1
    several = amended(BODY, "bob@a.test", "carl@a.test")
    assert isinstance(several, Amended) and b"List-Unsubscribe" not in several.event.body


def test_h06_a_list_is_named_plainly_or_refused() -> None:
    said = amended(BODY.replace(b"offers", b"a <b>; c"))
    assert isinstance(said, Reply) and said.code == 550
