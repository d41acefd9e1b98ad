"""`postroad site` beside a server's book of sites."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cli.calls import Done, call
from postroad.store.site_book import Seen, SiteBook

STATE = {
    "connections": 2,
    "waiting": 3,
    "most": 5,
    "rate": None,
    "share": 1.0,
    "troubles_in_a_row": 0,
    "paused_until": 0.0,
    "words": "",
    "trouble_at": None,
    "messages": 7,
    "troubles": 0,
}


class State:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        SiteBook(directory / "sites.db").close()

    def site(self, *arguments: object) -> Done:
        return call("site", *arguments, "--state", self.directory)

    def note(self, key: str, worker: int = 0, source: str = "", **state: Any) -> None:
        with SiteBook(self.directory / "sites.db") as book:
            book.note([Seen(worker=worker, key=key, source=source, at=time.time(), state={**STATE, **state})])


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


def test_limits_are_set_for_a_while_shown_with_where_they_come_from_and_cleared(state: State) -> None:
    done = state.site("set", "Gmail", "connections=2", "rate=120/h", "--for", "2h")
    assert done.status == 0 and done.out.startswith("gmail: connections = 2, messages_per_minute = 2, until 2")
    shown = json.loads(state.site("show", "gmail", "--json").out)
    assert shown["limits"]["connections"] == {"value": 2, "from": "override"}
    assert shown["limits"]["messages_per_minute"] == {"value": 2.0, "from": "override"}
    assert shown["limits"]["messages_per_connection"] == {"value": 50, "from": "provider"}
    assert shown["limits"]["recipients_per_message"] == {"value": 100, "from": "default"}
    assert "(override, until 2" in state.site("show", "gmail").out
    assert state.site("clear", "gmail").out == "gmail: the usual limits again\n"
    assert json.loads(state.site("show", "gmail", "--json").out)["limits"]["connections"]["from"] == "provider"


def test_sites_are_listed_with_all_workers_together_the_busiest_first(state: State) -> None:
    state.note("quiet.test", waiting=0, connections=0)
    state.note("busy.test")
    state.note("busy.test", worker=1, rate=30.0, share=0.5)
    assert state.site("list").out == state.site().out
    found = json.loads(state.site("--json").out)
    assert [(site["key"], site["waiting"], site["connections"], site["messages"]) for site in found] == [
        ("busy.test", 6, 4, 14),
        ("quiet.test", 0, 0, 7),
    ]
    assert found[0]["status"] == "recovering, at 50% of its limits" and found[1]["status"] == "ok"


def test_a_site_that_is_left_alone_says_until_when_and_because_of_which_words(state: State) -> None:
    words = "421 4.7.0 slow\x1b[2J down"
    state.note("a.test", paused_until=time.time() + 600, words=words, trouble_at=time.time())
    out = state.site("list").out
    assert "backing off until 2" in out and "because of «421 4.7.0 slow" in out and "\x1b" not in out
    assert "it last refused" in state.site("show", "a.test").out
    state.site("resume", "a.test")
    assert "backing off" not in state.site("list").out


def test_a_pause_is_shown_and_ends_by_resume(state: State) -> None:
    assert state.site("pause", "a.test", "--for", "30m").out.startswith("a.test: paused until 2")
    assert "paused by an operator until" in state.site("list").out
    assert state.site("resume", "a.test").status == 0
    assert state.site("list").out == "no mail has gone to any site yet\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("set", "a.test", "speed=2"), "is no limit: write rate=60/min, or one of connections=N"),
        (("set", "a.test", "rate=2"), "is no rate: write one such as rate=60/min"),
        (("set", "a.test", "connections=0"), "write a whole number from 1 to 1000000"),
        (("pause", "a.test", "--for", "400d"), "a pause lasts at most 30 days"),
        (("pause", "a.test", "--for", "soon"), "write a number and a unit"),
    ],
)
def test_what_cannot_be_is_one_sentence(state: State, arguments: tuple[str, ...], sentence: str) -> None:
    done = state.site(*arguments)
    assert done.status != 0 and sentence in done.err and "Traceback" not in done.err


def test_without_a_book_the_directory_is_asked_for(tmp_path: Path) -> None:
    done = call("site", "--state", tmp_path)
    assert done.status == 1 and "holds no sites.db" in done.err


def test_what_each_source_sent_today_is_shown_with_its_quota(state: State) -> None:
    config = state.directory / "postroad.toml"
    config.write_text(
        '[[source]]\nname = "main"\naddress = "127.0.0.2"\n'
        '[[source]]\nname = "new"\naddress = "127.0.0.3"\nwarm_up_first = 200\n'
        '[[pool]]\nname = "all"\nsources = ["main", "new"]\n'
    )
    day = time.strftime("%Y-%m-%d", time.gmtime())
    with SiteBook(state.directory / "sites.db") as book:
        book.add_used(day, {("new", ""): 120, ("new", "a.test"): 7, ("main", ""): 3})
    shown = state.site("show", "a.test", "--config", config).out
    assert "new: 7 to this site, 120 of 200 in all" in shown and "main: 0 to this site, 3 in all" in shown
    assert "Nothing waits for it in the queue." in shown
    told = json.loads(state.site("show", "a.test", "--json", "--config", config).out)
    assert [(one["source"], one["quota"]) for one in told["sources"]] == [("main", None), ("new", 200)]
