"""A whole verification against real hosts on loopback: each address asked once, politely, and never with DATA."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deliver.peers import CLOSE, SILENCE, Host, Names, listening
from postroad.net.endpoint import PhaseTimeouts
from postroad.net.resolver import AddressAnswer, DnsStatus, MxAnswer, Resolver
from postroad.road.throttle import BackOff
from postroad.smtp.address import NULL, Address
from postroad.store.results import InputRow, ResultStore
from postroad.verify.doubts import doubts
from postroad.verify.job import Job
from postroad.verify.settings import VerifySettings
from postroad.verify.source import MemorySource, StoredSource, canonical, stored_rows
from postroad.verify.verdict import Verdict

NAMES = {"example_net": ((10, "mx.example.net"),), "example_com": ((10, "mx.example.net"),)}
SETTINGS = VerifySettings(
    hello="probe.example.org",
    allow_private=True,
    timeouts=PhaseTimeouts.all(5),
    idle_s=0.05,
    back_off=BackOff(first_s=0.01, ceiling_s=0.05),
    wait_s=0.0,
    is_asking_at_random=False,
)
"""Each address asked once, and nothing else: what is waited for and made up has tests of its own."""


def known(*locals_: str) -> Callable[[str, int], bytes | None]:
    """Answers 250 to those recipients, and 550 5.1.1 to every other one."""

    def decide(command: str, accepted: int) -> bytes | None:
        if not command.upper().startswith("RCPT"):
            return None
        local = command.partition("<")[2].partition("@")[0]
        return b"250 2.1.5 ok\r\n" if local in locals_ else b"550 5.1.1 no such user here\r\n"

    return decide


def verify(
    host: Host,
    *addresses: str,
    names: Resolver | None = None,
    stop: Callable[[Job], None] | None = None,
    notices: list[str] | None = None,
    **settings: Any,
) -> list[Verdict]:
    source = MemorySource(addresses)

    async def run() -> None:
        async with listening(host) as port:
            job = Job(
                replace(SETTINGS, port=port, **settings),
                names or Names(**NAMES),
                source,
                rng=random.Random(1),
                on_notice=(notices if notices is not None else []).append,
            )
            if stop is not None:
                stop(job)
            await job.run()

    asyncio.run(run())
    return list(source.verdicts())


def states(verdicts: list[Verdict]) -> dict[str, str]:
    return {verdict.address: verdict.state for verdict in verdicts}


def asked(host: Host) -> Counter[str]:
    return Counter(command for command in host.commands if command.startswith("RCPT"))


def test_existing_and_missing_are_told_apart_each_with_the_hosts_own_words() -> None:
    host = Host(decide=known("ann"))
    found = verify(host, "ann@example.net", "bob@example.net", "eve@nowhere.test", "no address")
    assert states(found) == {
        "ann@example.net": "deliverable:accepted",
        "bob@example.net": "undeliverable:mailbox_unknown",
        "eve@nowhere.test": "undeliverable:no_domain",
        "no address": "undeliverable:bad_syntax",
    }
    assert found[1].proof.reply == ("550 5.1.1 no such user here",)
    assert found[1].proof.host == "mx.example.net" and found[1].proof.address == "127.0.0.1"


def test_c15_a_session_says_ehlo_mail_rcpt_and_quit_and_never_data() -> None:
    host = Host(decide=known("u1"))
    verify(host, *(f"u{number}@example.net" for number in range(10)))
    verbs = {command.split(" ")[0].split(":")[0] for command in host.commands}
    assert verbs == {"MAIL", "RCPT", "RSET"}
    assert host.connections == 1, "one session for the site's batch"
    assert not host.taken


def test_v07_an_address_named_twice_is_asked_once_and_answered_for_both_rows() -> None:
    host = Host(decide=known("ann"))
    found = verify(host, "ann@example.net", "ann@EXAMPLE.net", "Ann <ann@example.net>", "bob@example.net")
    assert asked(host) == {"RCPT TO:<ann@example.net>": 1, "RCPT TO:<bob@example.net>": 1}
    assert [verdict.address for verdict in found][:3] == ["ann@example.net", "ann@EXAMPLE.net", "Ann <ann@example.net>"]
    assert {verdict.state for verdict in found[:3]} == {"deliverable:accepted"}


def test_v07_a_session_holds_at_most_the_recipients_of_the_settings_and_of_the_host() -> None:
    host = Host(offers=("PIPELINING", "LIMITS RCPTMAX=3"), decide=known())
    addresses = [f"u{number}@example.net" for number in range(20)]
    verify(host, *addresses, recipients_per_session=6, per_site=1)
    assert sum(asked(host).values()) == 20 and set(asked(host).values()) == {1}
    transactions: list[int] = []
    for command in host.commands:
        if command.startswith("MAIL"):
            transactions.append(0)
        elif command.startswith("RCPT"):
            transactions[-1] += 1
    assert max(transactions) <= 3
    assert host.connections >= 4


def test_domains_of_one_site_share_its_limits() -> None:
    host = Host(decide=known("a", "b"))
    verify(host, "a@example.net", "b@example.com", per_site=1)
    assert host.connections == 1


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"RCPT": b"450 4.2.0 greylisted, come back later\r\n"}, "unknown:greylisted"),
        ({"RCPT": b"452 4.2.2 mailbox full\r\n"}, "risky:mailbox_full"),
        ({"RCPT": b"550 5.7.1 your address is blocked\r\n"}, "unknown:blocked"),
        ({"MAIL": b"550 5.1.1 user unknown\r\n"}, "unknown:sender_refused"),
        ({"RCPT": CLOSE}, "unknown:connection_lost"),
        ({"MAIL": CLOSE}, "unknown:connection_lost"),
    ],
)
def test_v01_v02_v03_refusals_that_are_not_about_the_mailbox_leave_it_open(
    answers: dict[str, bytes], expected: str
) -> None:
    (found,) = verify(Host(answers=answers), "ann@example.net", timeouts=PhaseTimeouts.all(1))
    assert found.state == expected


def test_a_host_that_falls_silent_is_unknown_in_bounded_time() -> None:
    (found,) = verify(Host(answers={"RCPT": SILENCE}), "ann@example.net", timeouts=PhaseTimeouts.all(0.2))
    assert found.state == "unknown:timed_out"


def test_a_refused_greeting_says_nothing_of_the_mailbox() -> None:
    (found,) = verify(Host(greeting=b"554 5.7.1 go away\r\n"), "ann@example.net")
    assert found.verdict == "unknown" and found.proof.phase == "greeting"
    assert found.proof.reply == ("554 5.7.1 go away",)


def test_dns_that_gives_no_answer_is_never_no_such_domain() -> None:
    names = Names(**NAMES)
    names.is_down = True
    (found,) = verify(Host(), "ann@example.net", names=names)
    assert found.state == "unknown:dns_temporary"


def test_a_name_server_that_answers_nobody_is_told_once() -> None:
    names = Names(**NAMES)
    names.is_down = True
    notices: list[str] = []
    verify(Host(), *(f"a@d{number}.test" for number in range(9)), names=names, notices=notices)
    assert len(notices) == 1 and "--resolver" in notices[0]


def test_v09_a_host_that_says_421_is_left_alone_and_asked_again_later_for_the_rest() -> None:
    def decide(command: str, accepted: int) -> bytes | None:
        if command.startswith("RCPT") and len(asked(host)) > 3 and host.connections == 1:
            return b"421 4.7.0 too many, come back\r\n"
        return known("u0", "u1", "u2", "u3", "u4", "u5")(command, accepted)

    host = Host(offers=(), decide=decide)
    found = verify(host, *(f"u{number}@example.net" for number in range(6)), per_site=1)
    assert [str(verdict.verdict) for verdict in found] == ["deliverable"] * 6
    assert host.connections == 2


def test_an_address_beyond_ascii_needs_smtputf8() -> None:
    (without,) = verify(Host(decide=known("ännchen")), "ännchen@example.net")
    assert without.state == "unknown:smtputf8_needed"
    host = Host(offers=("SMTPUTF8",), decide=known("ännchen"))
    (found,) = verify(host, "ännchen@example.net")
    assert found.state == "deliverable:accepted"
    assert any(command.endswith(" SMTPUTF8") for command in host.commands if command.startswith("MAIL"))


def test_the_sender_is_the_null_path_or_the_one_that_was_named() -> None:
    host = Host(decide=known("ann"))
    verify(host, "ann@example.net", mail_from=NULL)
    verify(host, "ann@example.net", mail_from=Address("probe", "example.org"))
    mails = [command for command in host.commands if command.startswith("MAIL")]
    assert mails == ["MAIL FROM:<>", "MAIL FROM:<probe@example.org>"]


def test_a_job_that_is_stopped_keeps_what_it_has_found() -> None:
    host = Host(decide=known("ann"))
    assert verify(host, "ann@example.net", "bob@example.com", stop=lambda job: job.stop(0.0)) == []


class Unreachable:
    """A resolver whose hosts are at an address where nobody answers."""

    def __init__(self) -> None:
        self.number = 0

    async def mx(self, domain: str) -> MxAnswer:
        return MxAnswer(DnsStatus.FOUND, ((10, f"mx.{domain}"),))

    async def addresses(self, host: str) -> AddressAnswer:
        self.number += 1
        return AddressAnswer(DnsStatus.FOUND, (f"127.66.66.{self.number}",))

    async def close(self) -> None:
        pass


def test_a_refused_port_is_no_closed_network() -> None:
    notices: list[str] = []
    found = verify(Host(), *(f"a@d{n}.test" for n in range(9)), names=Unreachable(), notices=notices)
    assert {verdict.state for verdict in found} == {"unknown:connect_failed"}
    assert notices == []


def test_v08_a_hello_or_sender_that_is_nobodys_is_told_at_the_start() -> None:
    class Nobody(Names):
        async def addresses(self, host: str) -> AddressAnswer:
            return AddressAnswer(DnsStatus.NO_DOMAIN)

    settings = replace(SETTINGS, mail_from=Address("probe", "nowhere.test"))
    told = asyncio.run(doubts(settings, Nobody()))
    assert len(told) == 2 and "--hello" in told[0] and "--mail-from" in told[1]
    assert asyncio.run(doubts(SETTINGS, Names())) == []


def test_a_run_in_the_store_goes_on_where_it_was_and_asks_nobody_twice(tmp_path: Path) -> None:
    host = Host(decide=known("u1", "u2"))
    rows = ["u1@example.net", "U9@Example.Net", "u2@example.net", "u1@example.net", "nothing"]
    with ResultStore(tmp_path / "verify.db") as store:
        run = store.open_run("list", now=1.0)
        store.add_rows(run, [InputRow(position=n, text=text, address=canonical(text)) for n, text in enumerate(rows)])

        async def work(count: int) -> None:
            async with listening(host) as port:
                source = StoredSource(store, run)
                job = Job(replace(SETTINGS, port=port), Names(**NAMES), source, rng=random.Random(1))
                if not count:
                    job.stop(0.0)
                await job.run()

        asyncio.run(work(0))
        assert not any(row.verdict for row in stored_rows(store, run)) and store.counts(run).pending == 4
        asyncio.run(work(1))
        asyncio.run(work(1))
        assert set(asked(host).values()) == {1}
        assert [
            (verdict.address, verdict.state) for verdict in (row.verdict for row in stored_rows(store, run)) if verdict
        ] == [
            ("u1@example.net", "deliverable:accepted"),
            ("U9@Example.Net", "undeliverable:mailbox_unknown"),
            ("u2@example.net", "deliverable:accepted"),
            ("u1@example.net", "deliverable:accepted"),
            ("nothing", "undeliverable:bad_syntax"),
        ]
