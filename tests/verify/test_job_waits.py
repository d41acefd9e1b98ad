"""What a run waits for and what it does not: greylisting, trouble, DNS, the word about the domain; and a stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from deliver.peers import CLOSE, SILENCE, Host
from postroad.verify.inquiry import RE_ASK_S
from postroad.verify.job import DNS_AGAIN_S, Job
from postroad.verify.plan import Plan
from verify.simulated import SETTINGS, Zone, verify

OK, ABSENT = b"250 2.1.5 ok\r\n", b"550 5.1.1 no such user here\r\n"
Answering = Callable[[str, int], bytes | None]


def now() -> float:
    return asyncio.get_running_loop().time()


def local(command: str) -> str:
    return command.partition("<")[2].partition("@")[0]


def recipients(host: Host) -> Counter[str]:
    return Counter(local(command) for command in host.commands if command.startswith("RCPT"))


def made_up(host: Host, *listed: str) -> set[str]:
    """Those asked about who are not on the list."""
    return set(recipients(host)) - set(listed)


def knows(*there: str) -> Answering:
    """Takes those, and refuses everybody else."""

    def decide(command: str, accepted: int) -> bytes | None:
        if command.startswith("RCPT"):
            return OK if local(command) in there else ABSENT
        return None

    return decide


def greylists(delay_s: float, then: Answering, *, phase: str = "RCPT", words: str = "Greylisted") -> Answering:
    """Answers only what comes again after so many seconds."""
    first: dict[str, float] = {}

    def decide(command: str, accepted: int) -> bytes | None:
        if command.startswith(phase) and now() < first.setdefault(command, now()) + delay_s:
            return f"450 4.7.1 {words}\r\n".encode()
        return then(command, accepted)

    return decide


# Takes everybody or not ---------------------------------------------------------------------------------------


def test_v04_a_host_that_takes_everybody_is_found_out_in_the_same_session() -> None:
    host = Host(answers={"RCPT": OK})
    ran = verify({"a.test": host}, "ann@a.test", "bob@a.test")
    assert set(ran.states.values()) == {"risky:catch_all"}
    assert len(made_up(host, "ann", "bob")) == 1 and len(ran.sessions) == 1
    rcpts = [local(command) for command in host.commands if command.startswith("RCPT")]
    assert rcpts[:2] == ["ann", "bob"], "the made-up one goes last"


def test_v05_a_host_that_refuses_it_makes_the_others_deliverable() -> None:
    ran = verify({"a.test": Host(decide=knows("ann"))}, "ann@a.test", "bob@a.test")
    assert ran.states == {"ann@a.test": "deliverable:accepted", "bob@a.test": "undeliverable:mailbox_unknown"}


def test_v07_one_made_up_recipient_for_each_domain_however_many_sessions() -> None:
    host = Host(decide=knows("u1", "u2"))
    listed = [f"u{number}" for number in range(40)]
    verify({"a.test": host}, *(f"{one}@a.test" for one in listed), recipients_per_session=5)
    assert len(made_up(host, *listed)) == 1 and max(recipients(host).values()) == 1


def test_a_host_that_takes_a_made_up_one_and_refuses_a_listed_one_is_asked_about_a_second() -> None:
    seen: set[str] = set()

    def decide(command: str, accepted: int) -> bytes | None:
        if not command.startswith("RCPT") or local(command) == "ann":
            return None
        if local(command) == "bob":
            return ABSENT
        seen.add(local(command))
        return OK if len(seen) == 1 else ABSENT

    host = Host(decide=decide)
    ran = verify({"a.test": host}, "ann@a.test", "bob@a.test")
    assert ran.states == {"ann@a.test": "risky:inconsistent", "bob@a.test": "undeliverable:mailbox_unknown"}
    assert len(made_up(host, "ann", "bob")) == 2


def test_who_asks_about_nobody_made_up_gets_verdicts_that_are_less_sure() -> None:
    host = Host(answers={"RCPT": OK})
    ran = verify({"a.test": host}, "ann@a.test", is_asking_at_random=False)
    assert ran.states == {"ann@a.test": "deliverable:accepted"} and ran.verdicts[0].confidence < 0.9
    assert made_up(host, "ann") == set()


def test_a_list_beyond_ascii_alone_is_answered_with_a_made_up_one_that_is_ascii() -> None:
    host = Host(offers=("SMTPUTF8",), decide=knows("ännchen"))
    ran = verify({"a.test": host}, "ännchen@a.test", "öse@a.test")
    assert ran.states == {"ännchen@a.test": "deliverable:accepted", "öse@a.test": "undeliverable:mailbox_unknown"}
    assert len(made_up(host, "ännchen", "öse")) == 1
    plain = Host(answers={"RCPT": OK})
    assert verify({"a.test": plain}, "ännchen@a.test").states == {"ännchen@a.test": "unknown:smtputf8_needed"}


def test_v07_nobody_is_asked_twice_where_the_second_half_of_a_session_is_lost() -> None:
    lost: list[str] = []

    def decide(command: str, accepted: int) -> bytes | None:
        if command.startswith("MAIL") and command.endswith("SMTPUTF8") and host.connections == 1 and len(lost) < 1:
            lost.append(command)
            return CLOSE
        return knows("ann", "ännchen")(command, accepted)

    host = Host(offers=("SMTPUTF8",), decide=decide)
    ran = verify(
        {"a.test": host},
        *("ann@a.test", "bob@a.test", "ännchen@a.test"),
        recipients_per_session=50,
        per_site=1,
        is_asking_at_random=False,
    )
    assert lost and ran.states["ännchen@a.test"] == "deliverable:accepted"
    assert recipients(host)["ann"] == recipients(host)["bob"] == 1
    assert ran.took_s < 30, "and what had no hearing is asked at once"


# Greylisting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["RCPT", "MAIL"])
@pytest.mark.parametrize(("delay_s", "words"), [(290, "Greylisted, retry in 290 seconds"), (60, "Greylisted")])
def test_v03_greylisting_is_waited_out_from_the_same_address_and_sender(delay_s: float, words: str, phase: str) -> None:
    host = Host(decide=greylists(delay_s, knows("ann"), phase=phase, words=words))
    ran = verify({"a.test": host}, "ann@a.test", "bob@a.test")
    assert ran.states == {"ann@a.test": "deliverable:accepted", "bob@a.test": "undeliverable:mailbox_unknown"}
    assert len({session.peer for session in ran.sessions}) == 1
    assert len({command for command in host.commands if command.startswith("MAIL")}) == 1
    assert delay_s < ran.took_s < delay_s * 1.3 + 20
    assert len(ran.notices) == 1 and "--wait" in ran.notices[0]


def test_v03_the_lists_other_work_goes_on_meanwhile() -> None:
    done: list[float] = []

    def decide(command: str, accepted: int) -> bytes | None:
        if command.startswith("RCPT"):
            done.append(now())
        return knows("ann")(command, accepted)

    grey = Host(decide=greylists(300, knows("ann")))
    ran = verify({"a.test": grey, "b.test": Host(decide=decide)}, "ann@a.test", *(f"u{n}@b.test" for n in range(500)))
    assert ran.states["ann@a.test"] == "deliverable:accepted" and len(ran.verdicts) == 501
    assert done[-1] < 120, "not held up"


def test_greylisting_that_never_clears_ends_at_the_deadline_as_unknown() -> None:
    host = Host(answers={"RCPT": b"450 4.2.0 Greylisted\r\n"})
    ran = verify({"a.test": host}, "ann@a.test")
    assert ran.states == {"ann@a.test": "unknown:greylisted"}
    assert ran.took_s <= SETTINGS.wait_s + 60
    assert 2 <= recipients(host)["ann"] <= 8


def test_who_does_not_wait_is_done_at_once() -> None:
    host = Host(answers={"RCPT": b"450 4.2.0 Greylisted\r\n"})
    ran = verify({"a.test": host}, "ann@a.test", wait_s=0.0)
    assert ran.states == {"ann@a.test": "unknown:greylisted"} and ran.took_s < 10 and ran.notices == []


def test_a_greylisted_batch_comes_again_in_few_sessions() -> None:
    host = Host(decide=greylists(290, knows("u1"), words="Greylisted, retry in 290 seconds"))
    verify({"a.test": host}, *(f"u{number}@a.test" for number in range(40)))
    assert sum(command.startswith("MAIL") for command in host.commands) <= 4


# Trouble ------------------------------------------------------------------------------------------------------


def test_v09_a_site_that_says_421_to_mail_is_backed_off_and_not_asked_batch_after_batch() -> None:
    host = Host(answers={"MAIL": b"421 4.7.0 Too many, come back later\r\n"})
    ran = verify({"a.test": host}, *(f"u{number}@a.test" for number in range(1000)), per_site=1)
    assert {verdict.verdict for verdict in ran.verdicts} == {"unknown"} and len(ran.verdicts) == 1000
    assert host.connections <= 20
    begun = [session.at for session in ran.sessions]
    assert all(later - earlier >= 5 for earlier, later in pairwise(begun))


@pytest.mark.parametrize("text", [b"421 4.7.0 Too many connections\r\n", b"421 4.3.2 Not now\r\n"])
def test_v09_a_421_at_the_greeting_is_waited_out(text: bytes) -> None:
    class Busy(Host):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.greeting = text if now() < 100 else b"220 mx.a.test ESMTP\r\n"
            await super().serve(reader, writer)

    host = Busy(decide=knows("ann"))
    ran = verify({"a.test": host}, "ann@a.test", "bob@a.test")
    assert ran.states == {"ann@a.test": "deliverable:accepted", "bob@a.test": "undeliverable:mailbox_unknown"}
    assert host.connections <= 6


@pytest.mark.parametrize("text", [b"421 4.7.0 Too many connections\r\n", b"421 4.3.2 Not now\r\n"])
def test_v09_a_site_that_says_nothing_but_421_ends_unknown_within_the_time_and_few_sessions(text: bytes) -> None:
    host = Host(greeting=text)
    ran = verify({"a.test": host}, *(f"u{number}@a.test" for number in range(2000)))
    assert {verdict.verdict for verdict in ran.verdicts} == {"unknown"} and len(ran.verdicts) == 2000
    assert host.connections <= 20 and ran.took_s <= 2 * SETTINGS.wait_s


def test_v02_v09_a_site_that_blocks_us_is_let_be_and_writes_nobody_off() -> None:
    host = Host(answers={"RCPT": b"550 5.7.1 Your address is blocked by reputation\r\n"})
    ran = verify({"a.test": host}, *(f"u{number}@a.test" for number in range(500)), recipients_per_session=10)
    assert set(ran.states.values()) == {"unknown:blocked"} and len(ran.verdicts) == 500
    assert sum(recipients(host).values()) <= 40
    assert ran.job is not None and ran.job.troubles()[0][0] == "a.test"


def test_v06_refusals_after_a_sign_of_blocking_are_asked_for_again_later() -> None:
    def decide(command: str, accepted: int) -> bytes | None:
        if command.startswith("RCPT") and host.connections == 1 and len(recipients(host)) > 2:
            return b"450 4.7.1 Too fast, slow down\r\n" if len(recipients(host)) == 3 else ABSENT
        return knows("u0", "u1", "u2", "u3", "u4", "u5")(command, accepted)

    host = Host(decide=decide)
    ran = verify({"a.test": host}, *(f"u{number}@a.test" for number in range(6)))
    assert set(ran.states.values()) == {"deliverable:accepted"}
    assert ran.took_s >= RE_ASK_S


class Strict(Host):
    """Ends a session by 421 after so many refusals, as Postfix does with smtpd_hard_error_limit."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"220 mx.a.test ESMTP\r\n")
        errors = 0
        while line := await reader.readline():
            command = line.decode().rstrip()
            said = self.answer(command, 0, b"250 2.0.0 ok\r\n")
            errors += said.startswith(b"5")
            writer.write(b"421 4.7.0 mx.a.test Error: too many errors\r\n" if errors > self.errors else said)
            if errors > self.errors:
                self.cut += 1
                return

    errors = 20
    cut = 0


def test_v09_a_site_that_ends_sessions_for_too_many_errors_is_asked_in_shorter_ones() -> None:
    host = Strict(decide=knows("u7"))
    ran = verify({"a.test": host}, *(f"u{number}@a.test" for number in range(1000)))
    assert Counter(ran.states.values()) == {"undeliverable:mailbox_unknown": 999, "deliverable:accepted": 1}
    assert host.cut <= 8, "it is learnt, and the pauses do not grow for ever"
    assert ran.took_s < SETTINGS.wait_s


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ({"RCPT": SILENCE}, "unknown:timed_out"),
        ({"RCPT": CLOSE}, "unknown:connection_lost"),
        ({"MAIL": CLOSE}, "unknown:connection_lost"),
        ({"RCPT": b"450 4.7.0 Too fast, slow down\r\n"}, "unknown:rate_limited"),
        ({"RCPT": b"421 4.7.0 Too fast, slow down\r\n"}, "unknown:rate_limited"),
    ],
)
def test_v09_a_large_domain_that_never_hears_us_ends_in_time_after_few_sessions(
    answers: dict[str, bytes], state: str
) -> None:
    host = Host(answers=answers)
    ran = verify({"a.test": host}, *(f"u{number}@a.test" for number in range(5000)))
    assert set(ran.states.values()) == {state} and len(ran.verdicts) == 5000
    assert host.connections <= 20 and ran.took_s <= SETTINGS.wait_s


def test_a_host_that_is_away_for_a_moment_loses_nobody() -> None:
    class Restarting(Host):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.answers = {"RCPT": CLOSE} if now() < 20 else {}
            await super().serve(reader, writer)

    host = Restarting(decide=lambda command, accepted: None if now() < 20 else knows("u1")(command, accepted))
    ran = verify({"a.test": host}, *(f"u{number}@a.test" for number in range(500)))
    assert Counter(ran.states.values()) == {"undeliverable:mailbox_unknown": 499, "deliverable:accepted": 1}


def test_a_pause_of_a_site_that_is_done_with_does_not_hold_up_the_end() -> None:
    host = Host(answers={"RCPT": b"450 4.7.0 Too fast, slow down\r\n"})
    ran = verify({"a.test": host}, "ann@a.test", wait_s=0.0)
    assert ran.states == {"ann@a.test": "unknown:rate_limited"} and ran.took_s < 5


# DNS ----------------------------------------------------------------------------------------------------------


def test_dns_that_gives_no_answer_is_asked_once_more() -> None:
    zone = Zone({"a.test": "a.test", "b.test": "b.test"})
    zone.failures = {"a.test": 1, "b.test": 9}
    hosts = {name: Host(decide=knows("ann")) for name in ("a.test", "b.test")}
    ran = verify(hosts, "ann@a.test", "ann@b.test", zone=zone)
    assert ran.states == {"ann@a.test": "deliverable:accepted", "ann@b.test": "unknown:dns_temporary"}
    assert zone.asked.count("a.test") == zone.asked.count("b.test") == 2
    assert DNS_AGAIN_S <= ran.took_s < DNS_AGAIN_S + 10


def test_a_literal_is_asked_at_its_address_and_a_private_one_is_undeliverable_without() -> None:
    host = Host(decide=knows("ann"))
    zone = Zone({"a.test": "a.test"})
    zone.hosts["127.0.1.1"] = "127.0.1.1"
    ran = verify({"a.test": host}, "ann@[127.0.1.1]", "bob@[127.0.1.1]", zone=zone)
    assert ran.states == {
        "ann@[127.0.1.1]": "deliverable:accepted",
        "bob@[127.0.1.1]": "undeliverable:mailbox_unknown",
    }
    ran = verify({"a.test": host}, "ann@[127.0.1.1]", zone=zone, allow_private=False)
    assert ran.states == {"ann@[127.0.1.1]": "undeliverable:private_address"}
    assert ran.verdicts[0].catch_all is None and ran.sessions == []


# Beginning and end ----------------------------------------------------------------------------------------------------


def test_a_run_without_addresses_ends_at_once() -> None:
    assert verify({}).took_s == 0


def test_a_list_of_no_addresses_at_all_ends_at_once() -> None:
    ran = verify({}, "nothing", "nobody@", "@a.test")
    assert len(ran.verdicts) == 3 and ran.took_s == 0


def test_a_refused_site_does_not_end_the_run_before_its_list() -> None:
    host = Host(answers={"RCPT": b"550 5.7.1 Your address is blocked by reputation\r\n"})
    ran = verify({"a.test": host}, *(f"u{n}@a.test" for n in range(5000)), window=20, recipients_per_session=10)
    assert len(ran.verdicts) == 5000


@pytest.mark.parametrize("grace_s", [0.0, 5.0])
def test_a_run_that_is_stopped_while_it_waits_ends_at_once(grace_s: float) -> None:
    def during(job: Job) -> None:
        asyncio.get_running_loop().call_later(100.0, job.stop, grace_s)

    grey = Host(answers={"RCPT": b"450 4.2.0 Greylisted, retry in 500 seconds\r\n"})
    ran = verify({"a.test": grey, "b.test": Host(decide=knows("ann"))}, "ann@a.test", "ann@b.test", during=during)
    assert ran.states == {"ann@b.test": "deliverable:accepted"}
    assert 100 <= ran.took_s < 102


def test_a_run_that_is_stopped_lets_what_is_under_way_end_for_a_moment() -> None:
    def during(job: Job) -> None:
        asyncio.get_running_loop().call_later(1.0, job.stop, 5.0)

    class Slow(Host):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(self.wait_s)
            await super().serve(reader, writer)

        wait_s = 3.0

    slow, slower = Slow(decide=knows("ann")), Slow(decide=knows("ann"))
    slower.wait_s = 30.0
    ran = verify({"a.test": slow, "b.test": slower}, "ann@a.test", "ann@b.test", during=during)
    assert ran.states == {"ann@a.test": "deliverable:accepted"} and ran.took_s < 15


def test_a_domain_that_comes_back_is_known_still() -> None:
    host = Host(decide=knows("ann", "eve"))
    listed = ["ann@a.test", *(f"u{number}@b.test" for number in range(3000)), "eve@a.test"]
    ran = verify({"a.test": host, "b.test": Host(decide=knows())}, *listed, window=20, recipients_per_minute=None)
    assert ran.states["ann@a.test"] == ran.states["eve@a.test"] == "deliverable:accepted"
    assert len(made_up(host, "ann", "eve")) == 1
    assert all(
        verdict.catch_all is False for verdict in ran.verdicts if verdict.address in ("ann@a.test", "eve@a.test")
    )


def test_nothing_is_left_behind_when_a_run_is_over() -> None:
    hosts = {
        "a.test": Host(decide=greylists(290, knows("u1"))),
        "b.test": Host(answers={"RCPT": b"550 5.7.1 Your address is blocked by reputation\r\n"}),
        "c.test": Host(greeting=b"421 4.7.0 Too many connections\r\n"),
        "d.test": Host(answers={"RCPT": OK}),
        "e.test": Host(answers={"RCPT": CLOSE}),
    }
    addresses = [f"u{number}@{domain}" for number in range(60) for domain in [*hosts, "nowhere.test"]]
    ran = verify(hosts, *addresses)
    assert len(ran.verdicts) == len(addresses)
    job = ran.job
    assert job is not None
    assert job._plan.size == 0 and vars(job._plan) == {
        **vars(Plan()),
        "_count": job._plan._count,
        "_pauses": job._plan._pauses,
    }
    assert job._inquiry.held == 0 and job._inquiry._past == {} and job._inquiry._domains == {}
    assert job._routes == {} and job._asked_dns == {}
