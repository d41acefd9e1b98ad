"""`postroad suppress` as a person and a script use it, and what `postroad verify` makes of it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.calls import Done, call
from cli.test_bounce import came_back
from cli.test_verify import running
from postroad.cli.suppress_lists import csv_lines, entries_of, reader_of, suppressed_name
from postroad.smtp.address import Address
from postroad.store.facts import Cause, Suppressed
from postroad.verify.address import BadAddress
from verify.formats import xlsx


class State:
    """A state directory of its own for each test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def suppress(self, *arguments: object, stdin: str | bytes = "") -> Done:
        return call("suppress", *arguments, "--state", self.directory, stdin=stdin)

    def listed(self) -> dict[str, str]:
        """Name → cause."""
        lines = self.suppress("list", "--format", "jsonl").out.splitlines()
        return {one["name"]: one["cause"] for one in map(json.loads, lines)}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_what_is_on_the_list_is_never_asked_about_and_the_verdict_says_why(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    with running(state.directory) as world:
        assert "deliverable" in world.verify("ann@example.net").out
        asked = world.asked
        state.suppress("add", "Ann@Example.NET", "--cause", "opt_out", "--note", "by phone, 3 March")
        state.suppress("add", "silent.test")
        done = world.verify("ANN@example.net", "x@silent.test", "--format", "jsonl")
        found = [json.loads(line) for line in done.out.splitlines()]
        assert [one["reason"] for one in found] == ["opt_out", "blocked_domain"]
        assert "by phone, 3 March" in done.out
        assert world.asked == asked, "nobody was asked"
        state.suppress("remove", "ann@example.net")
        assert "accepted" in world.verify("ann@example.net").out


def test_the_usual_cause_is_do_not_mail_for_an_address_and_blocked_domain_for_a_domain(state: State) -> None:
    done = state.suppress("add", "ann@example.org", "@Bücher.example", "Example.net", "[192.0.2.1]")
    assert done.status == 0 and not done.err
    assert state.listed() == {
        "ann@example.org": "do_not_mail",
        "xn--bcher-kva.example": "blocked_domain",
        "example.net": "blocked_domain",
        "[192.0.2.1]": "blocked_domain",
    }


def test_check_says_why_with_status_1_and_status_0_where_all_may_be_mailed(state: State) -> None:
    state.suppress("add", "ann@example.org", "--cause", "opt_out", "--note", "asked for it")
    state.suppress("add", "example.net")
    free = state.suppress("check", "bob@example.org")
    assert (free.status, free.out) == (0, "bob@example.org: may be mailed\n")
    done = state.suppress("check", "bob@example.org", "ANN@example.org", "x@example.net")
    assert done.status == 1
    bob, ann, other = done.out.splitlines()
    assert bob == "bob@example.org: may be mailed"
    assert ann.startswith("ann@example.org: opt_out since 2") and ann.endswith(": asked for it")
    assert other.startswith("x@example.net: its domain example.net is on the list: blocked_domain since 2")


def test_remove_says_what_was_not_there_with_status_1(state: State) -> None:
    state.suppress("add", "ann@example.org")
    done = state.suppress("remove", "ann@example.org", "bob@example.org")
    assert done.status == 1 and done.out == "ann@example.org: off the list\n"
    assert done.err == "postroad: bob@example.org is not on the list\n"
    assert state.listed() == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "ann"], "'ann' is neither an address nor a domain: an address has an @, and a domain has a dot"),
        (["add", "a@b@example.org"], "is neither an address nor a domain"),
        (["add", "192.0.2.1"], "an IP address must stand in brackets"),
        (["add", "example.net."], "'example.net.' is no domain name"),
        (["add", "ann@example.net."], "'example.net.' is no domain name"),
        (["add", "[192.0.2]"], "is no address literal"),
        (["add", ""], "there is no address and no domain"),
        (["add", "x" * 2000 + "@example.org"], "longer than 1000 characters"),
        (["add", "ann\x1b[31m@example.org"], "neither an address"),
        (["add", "ann@example.org\udcff"], "neither an address"),
        (["add", "ann@example.org", "--cause", "blocked_domain"], "blocked_domain is for a domain"),
        (["check", "a b"], "neither an address nor a domain"),
        (["remove", "ann"], "neither an address nor a domain"),
        (["import", "/nowhere/at/all.csv"], "cannot be read: No such file"),
        (["import", "."], "cannot be read: Is a directory"),
        (["import", os.devnull], "the list holds no addresses and no domains"),
        (["export", "--output", "/nowhere/at/all.csv"], "/nowhere/at/all.csv cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(
    state: State, arguments: list[str], words: str
) -> None:
    state.suppress("add", "kept@example.org")
    done = state.suppress(*arguments)
    assert done.status == 1 and words in done.sentence
    assert state.listed() == {"kept@example.org": "do_not_mail"}


def test_one_wrong_name_adds_none(state: State) -> None:
    assert state.suppress("add", "ann@example.org", "nonsense").status == 1
    assert state.listed() == {}


def test_a_note_has_an_end(state: State) -> None:
    done = state.suppress("add", "ann@example.org", "--note", "x" * 501)
    assert done.status == 2 and "at most 500 characters" in done.err


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call("suppress", "list", "--state", tmp_path / "file" / "state")
    assert done.status == 1 and "name another directory by --state" in done.sentence


def test_notes_cannot_reach_the_terminal_nor_a_spreadsheet(state: State) -> None:
    state.suppress("add", "=ann@example.org", "--note", "=HYPERLINK(1)\x1b[31m")
    table = state.suppress("list").out
    assert "\x1b" not in table and "\\x1b" in table
    (row,) = csv.DictReader(state.suppress("list", "--format", "csv").out.splitlines())
    assert row["name"] == "'=ann@example.org" and row["note"] == "'=HYPERLINK(1)\\x1b[31m"
    assert state.suppress("list", "--format", "jsonl").out.isascii()
    assert "\x1b" not in state.suppress("check", "=ann@example.org").out


def test_an_empty_list_says_so(state: State) -> None:
    assert state.suppress("list").out == "The list is empty.\n"


def test_what_is_exported_is_imported_again_as_it_was(state: State, tmp_path: Path) -> None:
    state.suppress("add", "example.net", "--note", "write to abuse@example.com, not there")
    state.suppress("add", "+ann@example.org", "--cause", "opt_out", "--note", "-1")
    before = state.suppress("list", "--format", "csv").out
    path = tmp_path / "list.csv"
    assert not state.suppress("export", "--output", path).out
    assert path.read_text() == before == state.suppress("export").out
    other = State(tmp_path / "other")
    done = other.suppress("import", path)
    assert (done.status, done.out, done.err) == (0, "2 rows added, 0 left out\n", "")
    assert other.suppress("export").out == before


def test_a_list_is_taken_in_with_its_causes_and_notes_and_bad_rows_are_told_with_their_line(
    state: State, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "Customer;E-Mail;Cause;Note\n"
        "Ann;Ann@example.org;opt-out;by letter\n"
        "Bob;bob@@example.org;;\n"
        "Cleo;cleo@example.org;;\n"
        "Dan;dan@example.org;\x1b[31m;\n"
        "Eve;;opt_out;\n"
        "Fay;fay@example.org;blocked_domain;\n"
    )
    done = state.suppress("import", path, "--cause", "bounced")
    assert done.status == 1 and done.out == "2 rows added, 4 left out\n"
    assert state.listed() == {"ann@example.org": "opt_out", "cleo@example.org": "bounced"}
    told = done.err.splitlines()
    assert [line.split(":")[1] for line in told] == [f" line {number} was left out" for number in (3, 5, 6, 7)]
    assert "is neither an address nor a domain" in told[0] and "there is no cause" in told[1]
    assert done.err.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ann@example.org\nexample.net\n", {"ann@example.org", "example.net"}),
        ("example.net\nexample.org\n", {"example.net", "example.org"}),
        ("example.net\nann@example.org\n", {"ann@example.org", "example.net"}),
        ("Domain\nexample.net\n", {"example.net"}),
        ("id,domain\n1,example.net\n2,example.org\n", {"example.net", "example.org"}),
        ("example.net,spam\nexample.org,spam\n", {"example.net", "example.org"}),
        ('{"email": "ann@example.org", "cause": "opt_out"}\n{"email": "b@example.org"}\n', None),
    ],
)
def test_lists_of_addresses_and_of_domains_are_read_in_any_usual_form(
    state: State, text: str, names: set[str] | None
) -> None:
    done = state.suppress("import", "-", stdin=text)
    found = state.listed()
    if names is None:
        assert found == {"ann@example.org": "opt_out", "b@example.org": "do_not_mail"}
    else:
        assert set(found) == names, done.err


def test_prose_is_no_list_of_names(state: State) -> None:
    done = state.suppress("import", "-", stdin="nothing here\nis a name\n")
    assert done.status == 1 and state.listed() == {}
    assert done.out == "0 rows added, 2 left out\n"


def test_of_many_bad_rows_the_first_are_told(state: State) -> None:
    done = state.suppress("import", "-", stdin="ann@example.org\n" + "a@b@c.example\n" * 3000)
    assert done.out == "1 row added, 3,000 left out\n"
    assert len(done.err.splitlines()) == 21 and "2,980 more rows" in done.err


def test_a_long_list_is_added_whole(state: State) -> None:
    state.suppress("import", "-", stdin="".join(f"u{number}@example.org\n" for number in range(2500)))
    assert len(state.suppress("export").out.splitlines()) == 2501


def test_a_spreadsheet_of_domains_is_read_too(state: State, tmp_path: Path) -> None:
    path = tmp_path / "list.xlsx"
    path.write_bytes(xlsx([["domain", "cause"], ["example.net", "do not mail"], ["example.org", ""]]))
    done = state.suppress("import", path)
    assert done.out == "2 rows added, 0 left out\n", done.err
    assert state.listed() == {"example.net": "do_not_mail", "example.org": "blocked_domain"}


def test_of_a_damaged_file_what_was_read_is_added(state: State, tmp_path: Path) -> None:
    path = tmp_path / "list.txt.gz"
    rng = random.Random(1)
    names = "".join(f"u{rng.getrandbits(200):x}@example.org\n" for _ in range(5000))
    path.write_bytes(gzip.compress(names.encode())[:-2000])
    done = state.suppress("import", path)
    assert done.status == 1
    assert f"before that, {len(state.listed()):,} rows were added" in done.sentence
    assert len(state.listed()) > 1000


# One mailbox, whatever the spelling -----------------------------------------------------------------------------------

SPELLINGS = ["a.nn@gmail.com", "ann@gmail.com", "A.N.N@gmail.com", "ann+news@gmail.com", "a.nn+x@googlemail.com"]


@pytest.mark.parametrize("added", SPELLINGS)
def test_who_is_on_the_list_may_not_be_mailed_under_any_spelling_of_the_mailbox(state: State, added: str) -> None:
    state.suppress("add", added, "--cause", "opt_out")
    done = state.suppress("check", *SPELLINGS)
    told = done.out.splitlines()
    assert done.status == 1 and len(told) == len(SPELLINGS) and all("opt_out since 2" in line for line in told)
    name = added.lower()
    for line in told:
        assert line.startswith((f"{name}: opt_out", line.partition(":")[0] + f": its mailbox {name} is on the list: "))
    assert state.suppress("check", "anna@gmail.com", "ann+news@example.org", "a.nn@example.org").status == 0


def test_verify_asks_about_no_spelling_of_a_mailbox_that_is_on_the_list(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.suppress("add", "a.nn@gmail.com", "--cause", "opt_out")
    with running(state.directory) as world:
        done = world.verify(*SPELLINGS, "--format", "jsonl")
        assert [json.loads(line)["reason"] for line in done.out.splitlines()] == ["opt_out"] * len(SPELLINGS)
        assert not world.asked, "nobody was asked"


def test_verify_knows_the_spellings_by_the_lists_it_is_given(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    row = '[[provider]]\nkey = "own"\nname = "Own"\nkind = "mailbox"\ndomains = ["example.net"]\ntags = "+"\n'
    (lists / "providers.toml").write_text(row)
    state = State(tmp_path / "state")
    state.suppress("add", "ann@example.net", "--cause", "opt_out")
    with running(state.directory) as world:
        assert "opt_out" in world.verify("ann+news@example.net", "--lists", lists).out
        assert "opt_out" not in world.verify("ann+news@example.net").out


@pytest.mark.parametrize("removed", SPELLINGS)
def test_any_spelling_takes_the_mailbox_off_the_list(state: State, removed: str) -> None:
    state.suppress("add", "a.nn@gmail.com", "ann+shop@googlemail.com", "bo@gmail.com")
    done = state.suppress("remove", removed)
    assert (done.status, done.out) == (0, f"{removed.lower()}: off the list\n")
    assert state.listed() == {"bo@gmail.com": "do_not_mail"}
    assert state.suppress("check", *SPELLINGS).status == 0


def test_two_spellings_of_one_mailbox_are_taken_off_together(state: State) -> None:
    state.suppress("add", "a.nn@gmail.com")
    done = state.suppress("remove", "ann@gmail.com", "ann+news@gmail.com")
    assert done.status == 0 and not done.err


def test_a_bounce_of_one_spelling_counts_for_the_mailbox(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    file = came_back(tmp_path, "a.nn+news@gmail.com", remote=True)
    call("bounce", file, "--learn", "--state", state.directory)
    done = state.suppress("check", "ann@gmail.com", "Ann@googlemail.com", "bo@gmail.com")
    assert done.status == 1
    assert ["mail came back since" in line for line in done.out.splitlines()] == [True, True, False]
    with running(state.directory) as world:
        found = world.verify("ann@gmail.com", "--format", "jsonl")
        assert json.loads(found.out)["reason"] == "bounced" and not world.asked


# The names themselves ---------------------------------------------------------------------------------------------


@given(st.text(max_size=60) | st.from_regex(r"[a-zA-Z.@*+'\[\]\"-]{1,40}", fullmatch=True))
def test_a_name_is_its_own_canonical_form_or_told_in_one_sentence(text: str) -> None:
    found = suppressed_name(text)
    if isinstance(found, BadAddress):
        assert found.fault
        return
    assert suppressed_name(found) == found
    if "@" in found:
        assert found == str(Address.parse(found, smtputf8=True)).lower()
    found.encode()


_NAMES = st.sampled_from(["ann@example.org", "+b@example.org", "=c@example.org", "-d@example.net", "example.net"])
_NOTES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.strip)


@given(st.dictionaries(_NAMES, _NOTES.filter(lambda text: not text.startswith("'"))))
def test_every_list_that_is_written_is_read_again(notes: dict[str, str]) -> None:
    entries = [
        Suppressed(
            name=name,
            cause=Cause.OPT_OUT if "@" in name else Cause.BLOCKED_DOMAIN,
            added_at=1_700_000_000.0,
            note=note,
        )
        for name, note in notes.items()
    ]
    file = io.BytesIO("".join(csv_lines(entries)).encode())
    assert list(entries_of(reader_of(file, None, None), None, 2_000_000_000.0)) == entries


def test_an_entry_may_hold_for_the_mail_of_one_sender_alone(state: State) -> None:
    done = state.suppress("add", "ann@a.test", "--cause", "opt_out", "--scope", "News@Shop.Example")
    assert "for mail of news@shop.example" in done.out
    state.suppress("add", "bob@a.test", "--scope", "list:offers", "--days", 30)
    assert state.suppress("check", "ann@a.test", "bob@a.test").status == 0, "everybody else may still mail them"
    assert state.suppress("check", "ann@a.test", "--scope", "news@shop.example").status == 1
    assert state.suppress("check", "ann@a.test", "--scope", "shop.example").status == 0
    state.suppress("add", "carl@a.test", "--scope", "shop.example")
    assert state.suppress("check", "carl@a.test", "--scope", "anyone@shop.example").status == 1
    exported = state.suppress("export").out
    again = State(state.directory / "again")
    again.suppress("import", "-", stdin=exported)
    assert again.suppress("export").out == exported
    assert state.suppress("remove", "ann@a.test", "--scope", "other.example").status == 1
    assert state.suppress("remove", "ann@a.test").status == 0
    assert "no sender" in state.suppress("add", "x@a.test", "--scope", "not a sender").err
