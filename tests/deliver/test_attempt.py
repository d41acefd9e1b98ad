"""One attempt over a real socket: who gets what, and what is made of every answer a host may give."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from deliver.messages import NULL, TEXT, envelope, message, queue, recipient
from deliver.peers import CLOSE, SILENCE, Host, Names, attempter, listening, road
from postroad.deliver.attempt import Attempter, Outcome, ReturnRoute
from postroad.deliver.local import LocalMaildirs, Maildirs, MaildirSettings
from postroad.meaning.classify import Kind
from postroad.message.envelope import BodyType, Envelope, Notify, Recipient, Return
from postroad.message.return_path import Returned, ReturnPaths
from postroad.net.endpoint import PhaseTimeouts
from postroad.road.route import Route, StaticRoute
from postroad.road.site import SiteLimits
from postroad.smtp.address import Address
from postroad.smtp.outcome import Phase

Result = TypeVar("Result")


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(coroutine)


def attempted(host: Host, of: Envelope, body: bytes = TEXT, *, times: int = 1, **options: object) -> list[Outcome]:
    """The outcomes of the (last) attempt, in the order of the recipients."""

    async def go() -> list[Outcome]:
        about = message(of, body=body)
        queued = queue(about)
        async with attempter(host, **options) as attempts:
            for _ in range(times):
                found = await attempts.attempt(about, queued)
        assert set(found) == {one.id for one in queued}
        return [found[one.id] for one in queued]

    return run(go())


def test_a_message_is_delivered_with_the_parameters_the_host_offers() -> None:
    host = Host()
    (outcome,) = attempted(host, envelope("a@example.net"))
    assert outcome.is_delivered
    assert outcome.host == "mx.example.net"
    assert not outcome.passes_dsn_on
    (taken,) = host.taken
    assert taken.mail == b"MAIL FROM:<sender@example.org> SIZE=%d" % len(TEXT)
    assert taken.rcpts == [b"RCPT TO:<a@example.net>"]
    assert taken.body == TEXT


def test_c13_a_connection_serves_the_next_message_too() -> None:
    host = Host()
    attempted(host, envelope("a@example.net"), times=3)
    assert host.connections == 1
    assert len(host.taken) == 3


def test_c08_each_recipient_has_its_own_fate() -> None:
    host = Host(
        answers={
            "RCPT TO:<no@": b"550 5.1.1 No such user\r\n",
            "RCPT TO:<full@": b"452 4.2.2 Mailbox full\r\n",
        }
    )
    no, yes, full = attempted(host, envelope("no@example.net", "yes@example.net", "full@example.net"))
    assert (no.meaning.kind, no.phase) == (Kind.MAILBOX_UNKNOWN, Phase.RCPT)
    assert yes.is_delivered
    assert (full.meaning.kind, full.meaning.retry) == (Kind.MAILBOX_FULL, True)
    assert len(host.taken) == 1


@pytest.mark.parametrize("offers", [(), ("PIPELINING",)])
def test_c08_nobody_accepted_nothing_sent(offers: tuple[str, ...]) -> None:
    host = Host(offers=offers, answers={"RCPT": b"550 5.1.1 No such user\r\n"})
    found = attempted(host, envelope("a@example.net", "b@example.net"))
    assert [outcome.meaning.kind for outcome in found] == [Kind.MAILBOX_UNKNOWN] * 2
    assert host.taken == []


@pytest.mark.parametrize(
    ("command", "phase"), [("MAIL", Phase.MAIL), ("RCPT", Phase.RCPT), ("DATA", Phase.DATA), (".", Phase.BODY)]
)
@pytest.mark.parametrize(("said", "retry"), [(b"451 4.3.0 later\r\n", True), (b"554 5.3.0 never\r\n", False)])
def test_refusals_by_phase(command: str, phase: Phase, said: bytes, retry: bool) -> None:
    (outcome,) = attempted(Host(answers={command: said}), envelope("a@example.net"))
    assert (outcome.phase, outcome.meaning.retry, outcome.is_delivered) == (phase, retry, False)
    assert outcome.reply is not None


def test_c09_lost_after_the_final_dot_is_an_unknown_outcome() -> None:
    (outcome,) = attempted(Host(answers={".": CLOSE}), envelope("a@example.net"))
    assert outcome.is_unknown
    assert outcome.meaning.retry
    assert "may have been taken" in outcome.detail


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_lost_before_the_message_is_a_temporary_failure(command: str) -> None:
    host = Host(answers={command: CLOSE})
    (outcome,) = attempted(host, envelope("a@example.net"))
    assert not outcome.is_unknown
    assert outcome.meaning.retry
    assert host.connections == 1


def test_a_host_that_closed_an_idle_connection_is_connected_to_again() -> None:
    host = Host()
    mails = 0

    def decide(command: str, accepted: int) -> bytes | None:
        nonlocal mails
        if not command.startswith("MAIL"):
            return None
        mails += 1
        return CLOSE if mails == 2 else None

    host.decide = decide
    (outcome,) = attempted(host, envelope("a@example.net"), times=2)
    assert outcome.is_delivered
    assert host.connections == 2
    assert len(host.taken) == 2


def test_c04_a_host_that_cannot_be_reached() -> None:
    async def go() -> Outcome:
        async with listening(Host()) as port:
            pass
        about = message(envelope("a@example.net"))
        async with road(port) as way:
            return (await Attempter(way.router, way.pool).attempt(about, queue(about)))[1]

    outcome = run(go())
    assert outcome.phase is Phase.CONNECT
    assert outcome.reply is None
    assert outcome.meaning.retry
    assert outcome.host == "mx.example.net"
    assert "127.0.0.1" in outcome.detail


def test_v01_a_refusal_at_the_door_is_told_and_tried_again() -> None:
    (outcome,) = attempted(Host(greeting=b"554 5.7.1 Your IP is blocked\r\n"), envelope("a@example.net"))
    assert (outcome.phase, outcome.meaning.kind) == (Phase.GREETING, Kind.BLOCKED_REPUTATION)
    assert outcome.meaning.retry
    assert outcome.reply is not None


def test_a_host_that_says_nothing_times_out() -> None:
    timeouts = PhaseTimeouts(mail_s=0.05, rcpt_s=0.05, data_s=0.05, body_s=0.05)
    (outcome,) = attempted(Host(answers={"MAIL": SILENCE}), envelope("a@example.net"), timeouts=timeouts)
    assert outcome.reply is None
    assert outcome.meaning.retry
    assert "timed out" in outcome.detail


@pytest.mark.parametrize(
    ("domain", "status", "retry"), [("nowhere.example", "5.1.2", False), ("null.example", "5.1.10", False)]
)
def test_c02_domains_without_a_way(domain: str, status: str, retry: bool) -> None:
    names = Names(null_example=((0, ""),))
    (outcome,) = attempted(Host(), envelope(f"a@{domain}"), names=names)
    assert outcome.phase is Phase.DNS
    assert outcome.reply is not None
    assert str(outcome.reply.enhanced) == status
    assert outcome.meaning.retry is retry
    assert outcome.host == ""


def test_c05_dns_trouble_is_temporary() -> None:
    names = Names()
    names.is_down = True
    (outcome,) = attempted(Host(), envelope("a@example.net"), names=names)
    assert outcome.meaning.retry
    assert outcome.reply is not None
    assert outcome.reply.code == 451


def test_c11_recipients_are_split_by_the_limits_of_site_and_host() -> None:
    recipients = [f"u{number}@example.net" for number in range(7)]
    host = Host()
    assert all(
        one.is_delivered for one in attempted(host, envelope(*recipients), limits=SiteLimits(recipients_per_message=3))
    )
    assert [len(taken.rcpts) for taken in host.taken] == [3, 3, 1]
    host = Host(offers=("PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=100"))
    assert all(one.is_delivered for one in attempted(host, envelope(*recipients)))
    assert [len(taken.rcpts) for taken in host.taken] == [2, 2, 2, 1]
    assert host.connections == 1


@pytest.mark.parametrize("said", [b"452 4.5.3 too many recipients\r\n", b"552 5.5.3 too many recipients\r\n"])
def test_s09_recipients_crowded_out_get_a_transaction_of_their_own(said: bytes) -> None:
    host = Host(decide=lambda command, accepted: said if command.startswith("RCPT") and accepted >= 2 else None)
    found = attempted(host, envelope(*(f"u{number}@example.net" for number in range(5))))
    assert all(one.is_delivered for one in found)
    assert [len(taken.rcpts) for taken in host.taken] == [2, 2, 1]


def test_c11_what_cannot_be_downgraded_is_refused_for_those_it_concerns() -> None:
    body = "Subject: x\r\n\r\nGrüße\r\n".encode()
    host = Host(offers=("PIPELINING",))
    (outcome,) = attempted(host, envelope("a@example.net", body_type=BodyType.EIGHT_BIT), body)
    assert (outcome.meaning.retry, str(outcome.reply and outcome.reply.enhanced)) == (False, "5.6.3")
    first, second = attempted(host, envelope("ü@example.net", "a@example.net", smtputf8=True))
    assert str(first.reply and first.reply.enhanced) == "5.6.7"
    assert second.is_delivered
    (outcome,) = attempted(Host(offers=("SIZE 10",)), envelope("a@example.net"))
    assert outcome.meaning.kind is Kind.MESSAGE_TOO_BIG
    assert not outcome.meaning.retry
    assert outcome.host == ""


def test_s27_dsn_parameters_are_passed_on_where_offered() -> None:
    asked = recipient("a@example.net", frozenset({Notify.SUCCESS}), "rfc822;b@example.org")
    of = envelope(asked, ret=Return.FULL, envid="x=1")
    host = Host(offers=("PIPELINING", "DSN"))
    (outcome,) = attempted(host, of)
    assert outcome.passes_dsn_on
    assert host.taken[0].mail.endswith(b"RET=FULL ENVID=x+3D1")
    assert host.taken[0].rcpts[0].endswith(b"NOTIFY=SUCCESS ORCPT=rfc822;b@example.org")
    (outcome,) = attempted(Host(), of)
    assert not outcome.passes_dsn_on


def test_the_null_path_and_smtputf8_travel() -> None:
    host = Host(offers=("PIPELINING", "SMTPUTF8", "8BITMIME"))
    (outcome,) = attempted(host, envelope("ü@example.net", sender=NULL, smtputf8=True))
    assert outcome.is_delivered
    assert host.taken[0].mail == b"MAIL FROM:<> SMTPUTF8"
    assert host.taken[0].rcpts == ["RCPT TO:<ü@example.net>".encode()]


def test_h06_an_address_no_command_may_carry_is_refused_here() -> None:
    host = Host()
    odd = Recipient(Address("a>\r\nDATA", "example.net"))
    (outcome,) = attempted(host, envelope(odd))
    assert not outcome.meaning.retry
    assert outcome.reply is not None
    assert host.taken == []
    assert not any("DATA" in command for command in host.commands)


def test_discarded_mail_is_taken_and_goes_nowhere() -> None:
    host = Host()
    (outcome,) = attempted(host, envelope("a@example.net"), static={"*": StaticRoute(is_discard=True)})
    assert outcome.is_delivered
    assert host.connections == 0


def test_local_domains_go_to_maildirs(tmp_path: Path) -> None:
    async def go() -> dict[int, Outcome]:
        maildirs = Maildirs(MaildirSettings(root=tmp_path, hostname="mail.example.org"))
        about = message(envelope("a@here.example", Recipient(Address("../b", "here.example"))))
        async with road(1) as way:
            attempts = Attempter(
                way.router, way.pool, local=LocalMaildirs(maildirs, lambda name: name == "here.example")
            )
            return await attempts.attempt(about, queue(about))

    found = run(go())
    assert found[1].is_delivered
    assert found[1].is_local
    assert not found[2].is_delivered
    assert not found[2].meaning.retry
    assert len(list((tmp_path / "here.example/a/new").iterdir())) == 1


def test_a_421_leaves_the_site_alone_for_a_while() -> None:
    host = Host(answers={"MAIL": b"421 4.7.0 too many messages, slow down\r\n"})
    (outcome,) = attempted(host, envelope("a@example.net"))
    assert outcome.meaning.retry
    assert host.connections == 1


def test_v09_a_block_on_a_connection_that_stays_open_is_trouble_and_no_success() -> None:
    host = Host(answers={"MAIL": b"450 4.7.1 too many messages from you, rate limit exceeded\r\n"})

    async def go() -> None:
        about = message(envelope("a@example.net"))
        async with listening(host) as port, road(port) as way:
            found = await Attempter(way.router, way.pool).attempt(about, queue(about))
            assert [outcome.meaning.kind for outcome in found.values()] == [Kind.RATE_LIMITED]
            route = await way.router.route("example.net")
            assert isinstance(route, Route)
            assert way.pool.try_acquire(route) is None, "the connection is not used again at once"

    run(go())


@pytest.mark.parametrize("per_recipient", [False, True])
def test_what_users_submit_leaves_with_a_return_address_that_names_it(per_recipient: bool) -> None:
    host = Host()
    paths = ReturnPaths("bounces.example.org", b"k" * 32)

    async def go() -> None:
        about = message(envelope("a@example.net", "b@example.net"))
        submitted = replace(about, trace=replace(about.trace, user="ann"))
        async with listening(host) as port, road(port) as way:
            attempts = Attempter(way.router, way.pool, returns=ReturnRoute(paths, per_recipient))
            await attempts.attempt(submitted, queue(about))
            await attempts.attempt(about, queue(about))

    run(go())
    senders = [Address.parse(taken.mail.split(b"<")[1].split(b">")[0].decode()) for taken in host.taken]
    relayed = senders.pop()
    assert str(relayed) == "sender@example.org", "mail that only passes keeps its sender"
    named = [paths.read(sender) for sender in senders]
    assert named == ([Returned(7, 1), Returned(7, 2)] if per_recipient else [Returned(7)])
    assert [len(taken.rcpts) for taken in host.taken] == ([1, 1, 2] if per_recipient else [2, 2])


def test_v09_a_421_that_speaks_of_our_pace_is_heard_also_on_a_connection_used_before() -> None:
    """It is no idle connection that was closed: the message does not begin again at once on another."""
    host = Host()

    async def go() -> None:
        async with listening(host) as port, road(port) as way:
            attempter = Attempter(way.router, way.pool)
            about = message(envelope("a@example.net"))
            assert (await attempter.attempt(about, queue(about)))[1].is_delivered
            host.answers["MAIL"] = b"421 4.7.0 too many messages, slow down\r\n"
            found = await attempter.attempt(about, queue(about))
            assert found[1].reply is not None and found[1].reply.code == 421
            assert host.connections == 1
            (state,) = way.pool.states()
            assert state.words == "421 4.7.0 too many messages, slow down"
            assert state.learnt.share == 0.5 and state.learnt.pause_s > 0

    run(go())


def test_what_our_own_pace_does_not_allow_is_no_attempt_and_says_why() -> None:
    host = Host()

    async def go() -> None:
        async with listening(host) as port, road(port) as way:
            attempter = Attempter(way.router, way.pool)
            about = message(envelope("a@example.net"))
            assert (await attempter.attempt(about, queue(about)))[1].is_delivered
            (home,) = way.pool.homes()
            home.hold(3600.0)
            found = (await attempter.attempt(about, queue(about)))[1]
            assert found.is_paced and found.meaning.retry
            assert "is paused by an operator for another 60 min" in found.detail
            assert found.meaning.retry_after_s == 900, "to see whether it was resumed"
            home.hold(0.0)
            assert (await attempter.attempt(about, queue(about)))[1].is_delivered

    run(go())
