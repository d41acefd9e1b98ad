"""What strangers and users may do: never an open relay (S-32), no one else's name (S-28), no loops (S-14)."""

from __future__ import annotations

import pytest

from postroad.receive.caller import Caller, Role
from postroad.receive.checks import CheckSettings, check_identity, standard_checks
from postroad.receive.directory import Directory, DomainRules
from postroad.receive.limits import Budget, Gate
from postroad.smtp.address import NULL, Address
from postroad.smtp.extension import MailParameters, RcptParameters
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import MailReceived, MessageReceived, RcptReceived
from postroad.store.accounts import Account

LOCAL = Directory(
    domains={"us.test": DomainRules(mailboxes={"ann@us.test"}.__contains__)},
    main="us.test",
    literals=frozenset({"[192.0.2.1]"}),
)
STRANGER = Caller("198.51.100.1", 4000, Role.MX)
ANN = Account(name="ann@us.test", password_hash="", identities=("ann@us.test", "*@lists.us.test"))


def user() -> Caller:
    return Caller("198.51.100.1", 4000, Role.SUBMISSION, account=ANN)


def decide(caller: Caller, address: str) -> int:
    parsed = Address.parse(address, smtputf8=True) if "@" in address else Address(address, "")
    check = standard_checks(CheckSettings(LOCAL)).rcpt[0]
    decision = check(caller, RcptReceived(parsed, RcptParameters()))
    assert decision is None or isinstance(decision, Reply)
    return 250 if decision is None else decision.code


@pytest.mark.parametrize(
    "address",
    [
        "user@elsewhere.test",
        "user%elsewhere.test@other.test",
        ["@us.test", "user@elsewhere.test"][1],
        "user@us.test.elsewhere.test",
        "user@[192.0.2.2]",
        "user@[IPv6:2001:db8::1]",
        "user@uѕ.test",  # a Cyrillic letter
        "user@xus.test",
    ],
)
def test_s32_a_stranger_reaches_no_other_domain(address: str) -> None:
    assert decide(STRANGER, address) == 550
    assert decide(user(), address) == 250


@pytest.mark.parametrize("local", ["user%elsewhere.test", '"user@elsewhere.test"', "elsewhere.test!user", '"a b"'])
def test_s32_a_local_part_is_a_local_part_whatever_it_looks_like(local: str) -> None:
    assert decide(STRANGER, f"{local}@us.test") == 550
    assert decide(STRANGER, f"{local}@[192.0.2.1]") == 550


def test_s32_authentication_on_the_mx_port_gives_no_right_to_relay() -> None:
    assert decide(Caller("x", 1, Role.MX, account=ANN), "user@elsewhere.test") == 550
    assert decide(Caller("x", 1, Role.SUBMISSION), "user@elsewhere.test") == 550


@pytest.mark.parametrize("address", ["ann@us.test", "ANN@us.test", "ann+tag@us.test"])
def test_local_mailboxes_are_reached(address: str) -> None:
    assert decide(STRANGER, address) == 250


@pytest.mark.parametrize("address", ["postmaster", "POSTMASTER@us.test", "postmaster@[192.0.2.1]"])
def test_s08_postmaster_is_always_deliverable(address: str) -> None:
    assert decide(STRANGER, address) == 250


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        (Address("ann", "us.test"), True),
        (Address("news", "lists.us.test"), True),
        (Address("bob", "us.test"), False),
        (Address("ann", "elsewhere.test"), False),
        (NULL, False),
    ],
)
def test_s28_a_user_sends_in_no_one_elses_name(path: Address, is_allowed: bool) -> None:
    decision = check_identity(user(), MailReceived(path, MailParameters()))
    assert (decision is None) is is_allowed
    assert decision is None or str(decision).startswith("553 5.7.1")


def test_s14_too_many_received_headers_are_a_loop() -> None:
    check = standard_checks(CheckSettings(LOCAL, hops=100)).message[0]
    mail = MailReceived(NULL, MailParameters())
    body = b"Received: by x\r\n" * 100 + b"\r\nReceived: in the body\r\n"
    assert check(STRANGER, MessageReceived(mail, (), body)) is None
    decision = check(STRANGER, MessageReceived(mail, (), b"Received: by x\r\n" + body))
    assert isinstance(decision, Reply)
    assert str(decision).startswith("554 5.4.6")


def test_the_gate_counts_in_all_and_per_peer_and_an_ipv6_customer_once() -> None:
    gate = Gate(total=4, per_peer=2)
    assert gate.enter("192.0.2.1") is None
    assert gate.enter("192.0.2.1") is None
    assert gate.enter("192.0.2.1") == "Too many connections from your address"
    assert gate.enter("2001:db8:1:2::1") is None
    assert gate.enter("2001:db8:1:2::ffff") is None
    assert gate.enter("2001:db8:9:9::1") == "Too many connections"
    gate.leave("192.0.2.1")
    assert gate.enter("192.0.2.2") is None


def test_the_budget_lets_memory_go_down_always() -> None:
    budget = Budget(100)
    assert budget.change(100)
    assert not budget.change(1)
    assert budget.change(-101)
    assert budget.used == 0


def test_what_cannot_be_stored_is_refused_at_rcpt_and_never_bounced_later() -> None:
    local = Directory(domains={"us.test": DomainRules()}, can_keep=lambda address: not address.local.startswith("."))
    (check,) = standard_checks(CheckSettings(local)).rcpt
    caller = Caller("192.0.2.1", 1, Role.MX)
    assert check(caller, RcptReceived(Address("ann", "us.test"), RcptParameters())) is None
    refusal = check(caller, RcptReceived(Address(".hidden", "us.test"), RcptParameters()))
    assert isinstance(refusal, Reply) and str(refusal).startswith("550 5.1.1")
