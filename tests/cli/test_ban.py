"""`postroad ban` and `postroad greylist` beside a server's book."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.calls import Done, call
from postroad.store.guard_book import GuardBook, Known, Step, Triplet


class State:
    """A state directory with a book, as a server leaves it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        GuardBook(directory / "guard.db").close()

    def ban(self, *arguments: object) -> Done:
        return call("ban", *arguments, "--state", self.directory)

    def greylist(self, *arguments: object) -> Done:
        return call("greylist", *arguments, "--state", self.directory)

    def listed(self) -> dict[str, object]:
        return {one["subject"]: one for one in map(json.loads, self.ban("list", "--format", "jsonl").out.splitlines())}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


def test_addresses_networks_and_accounts_are_banned_shown_and_released(state: State) -> None:
    done = state.ban("add", "192.0.2.7", "2001:DB8::1/48", "Ann@Us.Test", "--for", "2h", "--reason", "a\tgrudge")
    assert done.status == 0
    assert [line.partition(": ")[0] for line in done.out.splitlines()] == [
        "192.0.2.7/32",
        "2001:db8::/48",
        "ann@us.test",
    ]
    assert {(name, one["kind"], one["reach"]) for name, one in state.listed().items()} == {  # type: ignore[index]
        ("192.0.2.7/32", "network", "all"),
        ("2001:db8::/48", "network", "all"),
        ("ann@us.test", "account", "all"),
    }
    shown = state.ban("list").out
    assert "192.0.2.7/32  may not connect, until " in shown
    assert "ann@us.test  may not authenticate, until " in shown
    assert "a\\tgrudge" in shown
    done = state.ban("remove", "192.0.2.7", "198.51.100.1")
    assert (done.status, done.out) == (1, "192.0.2.7/32: no longer banned\n")
    assert done.err == "postroad: 198.51.100.1/32 is not banned\n"
    assert set(state.listed()) == {"2001:db8::/48", "ann@us.test"}


def test_without_a_length_it_is_for_good(state: State) -> None:
    assert state.ban("add", "192.0.2.7").out == "192.0.2.7/32: banned for good\n"
    assert state.ban("list").out == "192.0.2.7/32  may not connect, for good\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "0.0.0.0/0"), "too much of the internet"),
        (("add", "two words"), "neither an address, nor a network, nor the name of an account"),
        (("add", "192.0.2.1", "--for", "soon"), "write a number and a unit"),
        (("add", "192.0.2.1", "--for", "0s"), "write a number and a unit"),
        (("add", "192.0.2.1", "--reason", "x" * 501), "at most 500 characters"),
    ],
)
def test_what_cannot_be_meant_is_told_and_nothing_is_done(state: State, arguments: tuple[str, ...], words: str) -> None:
    done = state.ban(*arguments)
    assert done.status != 0
    assert words in done.err
    assert state.listed() == {}


def test_a_directory_that_no_server_uses_is_told(tmp_path: Path) -> None:
    done = call("ban", "list", "--state", tmp_path / "elsewhere")
    assert done.status == 1
    assert "holds no guard.db" in done.sentence


def test_who_is_greylisted_is_shown_and_forgotten_by_address(state: State) -> None:
    def begin(known: Known | None, passes: int) -> tuple[float, Step]:
        return 1.0, Step.BEGIN if known is None else Step.PASS

    one, other = Triplet("192.0.2.0/24", "ann@a.test", "bob@us.test"), Triplet("2001:db8::/64", "<>", "x@us.test")
    with GuardBook(state.directory / "guard.db") as book:
        book.greylist([one, other], begin, now=1000.0)
        book.greylist([other], begin, now=2000.0)
    assert state.greylist("list").out.splitlines() == [
        "2001:db8::/64  <> → x@us.test  known, last seen 1970-01-01T00:33:20Z",
        "192.0.2.0/24  ann@a.test → bob@us.test  put off 1970-01-01T00:16:40Z",
    ]
    rows = [json.loads(line) for line in state.greylist("list", "--format", "jsonl", "--most", 1).out.splitlines()]
    assert [(row["network"], row["passed"]) for row in rows] == [("2001:db8::/64", True)]
    assert state.greylist("clear", "192.0.2.99").out == "1 forgotten\n"
    assert "is no IP address" in state.greylist("clear", "everyone").sentence
    assert state.greylist("clear").out == "1 forgotten\n"
