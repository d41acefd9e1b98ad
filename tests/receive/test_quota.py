"""How much users may send: refused with the time to wait, counted only where it was taken."""

from __future__ import annotations

from postroad.receive.caller import Caller, Role
from postroad.receive.guard.tally import Tally, table_octets
from postroad.receive.quota import DAY_S, HOUR_S, QuotaSettings, SendingLimits, SendingQuota
from postroad.smtp.address import Address
from postroad.smtp.extension import NO_MAIL_PARAMETERS, NO_RCPT_PARAMETERS
from postroad.smtp.server_events import MailReceived, MessageReceived, RcptReceived
from postroad.store.accounts import Account

NOW = 1_800_000_000.0


class Sending:
    """A server whose clock is set by hand."""

    def __init__(self, settings: QuotaSettings) -> None:
        self.now = NOW
        hour, day = (
            Tally(bytearray(table_octets(100)), secret=b"s" * 32, window_s=window) for window in (HOUR_S, DAY_S)
        )
        self.quota = SendingQuota(settings, hour, day, lambda: self.now)

    def send(self, user: str = "ann@example.org", recipients: int = 1, sender: str = "ann@example.org") -> str:
        """The reply to a message, or nothing where it was taken."""
        caller = Caller("192.0.2.1", 1, Role.SUBMISSION, account=Account(name=user, password_hash="", identities=()))
        mail = MailReceived(Address.parse(sender), NO_MAIL_PARAMETERS)
        to = tuple(RcptReceived(Address(f"r{number}", "a.test"), NO_RCPT_PARAMETERS) for number in range(recipients))
        said = self.quota.mail(caller, mail) or self.quota.message(caller, MessageReceived(mail, to, b""))
        return "" if said is None else str(said)


def test_a_user_may_send_so_many_messages_and_hears_when_he_may_again() -> None:
    sending = Sending(QuotaSettings(users=SendingLimits(messages_per_hour=3)))
    assert [sending.send() for _ in range(3)] == ["", "", ""]
    said = sending.send()
    assert said.startswith("452 4.7.1 You may send 3 messages an hour: try again in ")
    assert sending.send("bob@example.org", sender="bob@example.org") == "", "others are not concerned"
    sending.now += 2 * HOUR_S
    assert sending.send() == ""


def test_recipients_count_and_what_is_refused_counts_for_nothing() -> None:
    sending = Sending(QuotaSettings(users=SendingLimits(recipients_per_day=10)))
    assert sending.send(recipients=8) == ""
    assert sending.send(recipients=3).startswith("452 4.7.1 You may send 10 recipients a day")
    assert sending.send(recipients=2) == ""
    assert sending.send(recipients=11, user="bob@x.test").startswith("552 5.7.1 This message alone is more")


def test_one_user_and_one_domain_may_have_limits_of_their_own() -> None:
    by_name = {"ann@example.org": SendingLimits(), "news.test": SendingLimits(messages_per_hour=1)}
    settings = QuotaSettings(users=SendingLimits(messages_per_hour=1), by_name=by_name)
    assert settings.is_needed and not QuotaSettings().is_needed
    sending = Sending(settings)
    assert [sending.send() for _ in range(3)] == ["", "", ""]
    assert sending.send(sender="a@news.test") == ""
    assert sending.send(sender="b@news.test").startswith("452"), "of the domain, whoever sends"
