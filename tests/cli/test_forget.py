"""`postroad forget`: personal data goes by address and by age (V-10), from the files too."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cli.calls import Done, call
from cli.test_bounce import came_back
from cli.test_verify import World, running
from postroad.clock import SystemClock
from postroad.store.facts import CachedVerdict, Delivered, DeliveryOutcome, FactStore
from postroad.store.results import InputRow, Recorded, ResultStore

DAY_S = 86_400.0


def forget(state: Path, *arguments: object) -> Done:
    return call("forget", *arguments, "--state", state)


def octets(state: Path) -> bytes:
    """Everything that the files of the state directory hold, the write-ahead logs too."""
    return b"".join(path.read_bytes() for path in sorted(state.iterdir())).lower()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A list was verified, some of it came back, and one of it is not to be mailed."""
    people = tmp_path / "people.csv"
    rows = "".join(f"Number {number};u{number}@example.net;\n" for number in range(300))
    people.write_text(
        "name;E-Mail;second\nAnn Oakley;ann@example.net;\nAnn;ANN@example.net;\nBo;bo@example.net;Ann@example.net\n"
        "Jo;jo.ann@example.net;kept cell\n" + rows
    )
    with running(tmp_path / "state") as made:
        made.verify(people, "--output", tmp_path / "result.csv", "--reuse")
    state = tmp_path / "state"
    call("bounce", came_back(tmp_path, "ann@example.net", remote=False), "--learn", "--state", state)
    return made


def test_v10_an_address_goes_from_every_file_and_its_log(world: World, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert b"ann@example.net" in octets(state) and b"ann oakley" in octets(state)
    done = forget(state, "Ann@example.net")
    assert done.status == 0 and not done.err
    assert done.out.startswith("Ann@example.net: 2 rows of lists and ")
    left = octets(state)
    assert left.count(b"ann@example.net") == left.count(b"jo.ann@example.net") > 0
    assert b"ann oakley" not in left
    assert b"kept cell" in left and b"bo@example.net" in left and b"u299@example.net" in left
    assert forget(state, "ann@example.net").out == "ann@example.net: 0 rows of lists and 0 facts removed\n"


def test_the_rest_of_the_run_stays_and_can_be_written_anew(world: World, tmp_path: Path) -> None:
    forget(tmp_path / "state", "ann@example.net")
    done = world.verify(tmp_path / "people.csv", "--resume", "--format", "csv")
    assert done.status == 0
    assert [line.split(",")[1] for line in done.out.splitlines()[1:3]] == ["bo@example.net", "jo.ann@example.net"]


def test_it_stays_on_the_suppression_list_unless_that_is_meant_too(tmp_path: Path) -> None:
    call("suppress", "add", "ann@example.org", "--state", tmp_path)
    done = forget(tmp_path, "Ann@example.org")
    assert "it stays on the suppression list" in done.out
    assert call("suppress", "check", "ann@example.org", "--state", tmp_path).status == 1
    done = forget(tmp_path, "Ann@example.org", "--suppressed")
    assert done.out.endswith("removed, and its entry on the suppression list\n")
    assert call("suppress", "check", "ann@example.org", "--state", tmp_path).status == 0
    assert b"ann@example.org" not in octets(tmp_path)


def test_v10_every_spelling_of_a_mailbox_is_forgotten_with_it(tmp_path: Path) -> None:
    now = SystemClock().wall()
    spellings = ["a.nn@gmail.com", "ANN@gmail.com", "ann+news@gmail.com", "a.n.n@googlemail.com"]
    everybody = [*spellings, "joann@gmail.com", "a.nn@example.org"]
    with ResultStore(tmp_path / "verify.db") as results:
        run = results.open_run("list", now=now)
        results.add_rows(run, [InputRow(number, one, one) for number, one in enumerate(everybody)])
        results.add_rows(run, [InputRow(9, "bo@example.org", "bo@example.org", "or <an.n+shop@googlemail.com>")])
    with FactStore(tmp_path / "facts.db") as facts:
        facts.keep_verdicts(
            CachedVerdict(address=one, found_at=now, expires_at=now + DAY_S, verdict="{}") for one in everybody
        )
    call("suppress", "add", "a.nn@gmail.com", "--state", tmp_path)
    done = forget(tmp_path, "ann@gmail.com")
    assert done.out.startswith("ann@gmail.com: 4 rows of lists and 4 facts removed; it stays on the suppression list")
    assert call("suppress", "check", "ann@gmail.com", "--state", tmp_path).status == 1
    done = forget(tmp_path, "Ann+x@googlemail.com", "--suppressed")
    assert done.out.endswith("0 facts removed, and its entry on the suppression list\n")
    left = octets(tmp_path)
    assert not [one for one in (*spellings, "an.n+shop") if one.lower().encode() in left.replace(b"joann@", b"")]
    assert b"joann@gmail.com" in left and b"a.nn@example.org" in left and b"bo@example.org" in left


def test_v10_what_is_old_goes(tmp_path: Path) -> None:
    now = SystemClock().wall()
    with ResultStore(tmp_path / "verify.db") as results:
        for name, age in (("old", 40), ("new", 5)):
            run = results.open_run(name, now=now - age * DAY_S)
            results.add_rows(run, [InputRow(1, f"{name}@example.org", f"{name}@example.org")])
            results.record(run, [Recorded(id=run.id, state="deliverable", verdict="{}")])
    with FactStore(tmp_path / "facts.db") as facts:
        for name, age in (("old", 40), ("new", 5)):
            at = now - age * DAY_S
            address = f"{name}@example.org"
            facts.keep_verdicts(
                [CachedVerdict(address=address, found_at=at, expires_at=now + DAY_S, verdict=json.dumps(address))]
            )
            facts.keep_domain(f"{name}.example", catch_all=True, now=at)
            bounced = Delivered(
                address=f"x@{name}.example", domain=f"{name}.example", at=at, outcome=DeliveryOutcome.BOUNCED
            )
            facts.note_deliveries([bounced])
    done = forget(tmp_path, "--older-than", 30)
    assert done.out == ("older than 30 days, or expired: 1 list and 3 facts removed\n")
    left = octets(tmp_path)
    assert b"old@example.org" not in left and b"old.example" not in left
    assert b"new@example.org" in left and b"x@new.example" in left


def test_where_nothing_is_known_nothing_is_made(tmp_path: Path) -> None:
    done = forget(tmp_path, "ann@example.org", "no address", "--older-than", 1)
    assert done.status == 0 and done.out.splitlines()[:2] == [
        "ann@example.org: 0 rows of lists and 0 facts removed",
        "no address: 0 rows of lists and 0 facts removed",
    ]
    assert not list(tmp_path.iterdir())


def test_what_is_no_address_can_be_forgotten_as_it_stood_in_the_list(tmp_path: Path) -> None:
    with running(tmp_path / "state") as world:
        world.verify("-", stdin=b"ann@example.net\nann@@example.net\n")
    done = forget(tmp_path / "state", "ann@@example.net")
    assert done.out == "ann@@example.net: 1 row of lists and 0 facts removed\n"
    assert b"ann@@example.net" not in octets(tmp_path / "state")


@pytest.mark.parametrize(
    "arguments", [[], ["--suppressed", "--older-than", "3"], ["ann@example.org", "--older-than", "-1"]]
)
def test_a_wrong_use_is_told(tmp_path: Path, arguments: list[str]) -> None:
    assert forget(tmp_path, *arguments).status == 2


def test_a_file_in_use_is_told_in_one_sentence(tmp_path: Path) -> None:
    call("suppress", "add", "ann@example.org", "--state", tmp_path)
    with closing(sqlite3.connect(tmp_path / "facts.db", isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM suppression").fetchall()
        other.execute("COMMIT")
        other.execute("BEGIN IMMEDIATE")
        done = forget(tmp_path, "ann@example.org")
    assert done.status == 1 and "forget again" in done.sentence


def test_hostile_words_stay_off_the_terminal(tmp_path: Path) -> None:
    assert forget(tmp_path, "\x1b[31m@example.org").out.rstrip("\n").isprintable()
    assert forget(tmp_path, "ann\udcff@example.org").status == 1


def test_an_address_within_a_longer_one_is_another(tmp_path: Path) -> None:
    longer = ["joann@example.org", "ann@example.org.test", "ann@example.orgs", "x+ann@example.org"]
    with ResultStore(tmp_path / "verify.db") as results:
        run = results.open_run("list", now=SystemClock().wall())
        rows = [
            InputRow(number, f"u{number}@example.net", f"u{number}@example.net", text)
            for number, text in enumerate([*longer, "Mail to ANN@example.org, please", "<ann@example.org>."])
        ]
        results.add_rows(run, rows)
        results.forget_address("ann@example.org")
        assert [row.cells for row in results.results(run)] == [*longer, "", ""]
