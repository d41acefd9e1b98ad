"""Results stand beside the list's own columns, and a split list can go back where it came from."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.store import results as results_store
from postroad.store.results import Recorded, ResultStore
from postroad.verify.address import check
from postroad.verify.columns import OwnColumns
from postroad.verify.lists import ListReader
from postroad.verify.rows import BadRow, Cell
from postroad.verify.source import add_list, canonical, stored_columns, stored_rows
from postroad.verify.split import split_list
from postroad.verify.tables import COLUMNS, TEXT_FORMATS, JudgedRow, csv_lines, jsonl, judged, own_cell, write_parquet
from postroad.verify.verdict import Judgement, Verdict
from verify.formats import xlsx


def verdict(address: str) -> Verdict:
    """A verdict that the address spells out: `risky@x.test` is risky."""
    local = address.partition("@")[0].lower()
    known = {str(one): one for one in Judgement}
    reason = local if local in ("do_not_mail", "opt_out") else "unclear"
    return Verdict(address=address, verdict=known.get(local, Judgement.DELIVERABLE), reason=reason)


def run(data: bytes | str, directory: Path, *, unasked: Iterable[str] = ()) -> tuple[list[JudgedRow], OwnColumns]:
    """The rows of a list that went through the store, each with its verdict."""
    with ResultStore(directory / "verify.db") as store:
        opened = store.open_run("list", now=1.0)
        reader = ListReader(io.BytesIO(data.encode() if isinstance(data, str) else data))
        add_list(store, opened, reader, lambda row: None)
        asked = [one for one in store.pending(opened, limit=1000) if one.address not in unasked]
        found = [(one.id, verdict(one.address)) for one in asked]
        store.record(opened, [Recorded(id=n, state=one.state, verdict=one.to_json()) for n, one in found])
        return list(stored_rows(store, opened)), stored_columns(store, opened)


def table(lines: Iterator[str], delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(lines), newline=""), delimiter=delimiter))


LIST = 'Name;E-Mail;Note;Note\n"Doe; Ann";ann@x.test;"one\ntwo, ""three""";\nBo;BO@x.test ;;4;extra\nAnn2;ann@x.test\n'


@pytest.mark.parametrize(("style", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_own_columns_come_first_and_unchanged_then_the_verdict(tmp_path: Path, style: str, delimiter: str) -> None:
    rows, columns = run(LIST, tmp_path)
    header, *body = table(TEXT_FORMATS[style](rows, columns), delimiter)
    assert header == ["Name", "E-Mail", "Note", "Note", "column 5", *COLUMNS]
    assert [row[:7] for row in body] == [
        ["Doe; Ann", "ann@x.test", 'one\ntwo, "three"', "", "", "ann@x.test", "deliverable"],
        ["Bo", "BO@x.test ", "", "4", "extra", "BO@x.test", "deliverable"],
        ["Ann2", "ann@x.test", "", "", "", "ann@x.test", "deliverable"],
    ]


def test_json_has_the_other_columns_as_an_object(tmp_path: Path) -> None:
    rows, columns = run(LIST, tmp_path)
    found = [json.loads(line) for line in jsonl(rows, columns)]
    assert found[0]["row"] == {"Name": "Doe; Ann", "Note": 'one\ntwo, "three"', "Note 2": "", "column 5": None}
    assert found[1]["row"] == {"Name": "Bo", "Note": "", "Note 2": "4", "column 5": "extra"}
    assert {**found[0], "row": None} == {**verdict("ann@x.test").to_dict(), "row": None}


def test_json_lines_keep_their_kinds(tmp_path: Path) -> None:
    rows, columns = run('{"id": 7, "email": "a@x.test", "ok": true}\n{"email": "b@x.test", "late": 0.5}\n', tmp_path)
    found = [json.loads(line)["row"] for line in jsonl(rows, columns)]
    assert found == [{"id": 7, "ok": True, "late": None}, {"id": None, "ok": None, "late": 0.5}]
    assert [row[:4] for row in table(csv_lines(rows, columns))] == [
        ["id", "email", "ok", "late"],
        ["7", "a@x.test", "true", ""],
        ["", "b@x.test", "", "0.5"],
    ]


def test_a_name_that_the_list_uses_itself_is_prefixed(tmp_path: Path) -> None:
    rows, columns = run("Address,verdict,postroad_verdict\na@x.test,old,older\n", tmp_path)
    header, row = table(csv_lines(rows, columns))
    assert header[:5] == ["Address", "verdict", "postroad_verdict", "postroad_address", "postroad_verdict_2"]
    assert header[5:] == list(COLUMNS[2:])
    assert row[:5] == ["a@x.test", "old", "older", "a@x.test", "deliverable"]


def test_a_list_of_mere_addresses_has_the_verdict_alone(tmp_path: Path) -> None:
    rows, columns = run("a@x.test\nb@x.test\n", tmp_path)
    assert columns.is_bare
    assert table(csv_lines(rows, columns))[0] == list(COLUMNS)
    assert "row" not in json.loads(next(jsonl(rows, columns)))
    assert table(csv_lines([judged(verdict("a@x.test"))]))[1][:2] == ["a@x.test", "deliverable"]


def test_a_list_without_a_header_gets_titles_for_its_columns(tmp_path: Path) -> None:
    rows, columns = run("Ann,ann@x.test,1\nBo,bo@x.test,2\n", tmp_path)
    assert table(csv_lines(rows, columns))[0][:4] == ["column 1", "column 2", "column 3", "address"]
    assert json.loads(next(jsonl(rows, columns)))["row"] == {"column 1": "Ann", "column 3": "1"}


def test_rows_that_were_not_reached_are_left_out_of_the_results(tmp_path: Path) -> None:
    rows, columns = run("a@x.test\nb@x.test\n", tmp_path, unasked=["b@x.test"])
    assert [row[0] for row in table(csv_lines(rows, columns))[1:]] == ["a@x.test"]
    assert len(list(jsonl(rows, columns))) == 1


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|' /c calc'!A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "+1+1", "-1*2"]
)
def test_h11_an_own_cell_that_a_spreadsheet_would_run_is_made_harmless(cell: str) -> None:
    assert own_cell(cell) == f"'{cell}"


@pytest.mark.parametrize(
    ("cell", "text"),
    [("+49 30 123456", None), ("+1-555-0100", None), ("-5", None), ("-0,5", None), ("+(0)30 1", None), (-5, "-5"),
     (-0.5, "-0.5"), (12.0, "12"), (True, "true"), (None, ""), ("a\nb\tc", None), ("\xa0x\u200dy", None),
     ("\x1b[31m\0", "\\x1b[31m\\x00")],
)  # fmt: skip
def test_numbers_and_ordinary_text_are_left_as_they_are(cell: Cell, text: str | None) -> None:
    assert own_cell(cell) == (cell if text is None else text)


@given(st.text())
def test_h11_no_own_cell_reaches_a_terminal_or_runs(text: str) -> None:
    cell = own_cell(text)
    assert "\x1b" not in cell and "\0" not in cell
    assert not cell.startswith(("=", "@", "\t", "\r", "\n"))
    assert cell[:1] not in "+-" or not any(one.isalpha() or one in "|!'\"=:*" for one in cell)


cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6) | st.sampled_from(
    ['"', "a\nb", ",", ";", "'"]
)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
def test_what_a_list_has_comes_out_beside_the_verdict(rows: list[tuple[str, str]]) -> None:
    columns = OwnColumns(names=("one", "email", "two"), width=3, column=1, delimiter=",")
    own = [(a, "a@x.test", b) for a, b in rows]
    given_rows = [JudgedRow("a@x.test", row, verdict("a@x.test")) for row in own]
    for style, delimiter in (("csv", ","), ("tsv", "\t")):
        _, *body = table(TEXT_FORMATS[style](given_rows, columns), delimiter)
        assert [tuple(row[:3]) for row in body] == [tuple(map(own_cell, row)) for row in own]
    assert [json.loads(line)["row"] for line in jsonl(given_rows, columns)] == [{"one": a, "two": b} for a, b in rows]


def test_parquet_has_the_same_columns(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra postroad[parquet] is not installed")
    from pyarrow import parquet

    rows, columns = run(LIST, tmp_path)
    write_parquet(tmp_path / "out.parquet", rows, columns)
    found = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert list(found[0]) == ["Name", "E-Mail", "Note", "Note 2", "column 5", *COLUMNS]
    assert (found[1]["Name"], found[1]["column 5"], found[1]["verdict"]) == ("Bo", "extra", "deliverable")
    assert found[0]["disposable"] is False and found[0]["catch_all"] is None and found[0]["confidence"] == 0.0
    with (tmp_path / "out.parquet").open("rb") as file:
        assert [row.line for row in ListReader(file, column="E-Mail")] == [1, 2, 3]


# The store -------------------------------------------------------------------------------------------------------


def test_a_spreadsheet_goes_through_the_store_with_its_cells(tmp_path: Path) -> None:
    rows, columns = run(xlsx([["id", "email"], [1.0, "a@x.test"]]), tmp_path)
    assert rows[0].cells == (1, "a@x.test") and columns.titles == ("id", "email")


def test_the_columns_are_there_when_the_run_goes_on_without_its_file(tmp_path: Path) -> None:
    run(LIST, tmp_path, unasked=["ann@x.test"])
    with ResultStore(tmp_path / "verify.db") as store:
        opened = store.open_run("list", now=2.0)
        assert opened.is_resumed and opened.has_all_input
        assert stored_columns(store, opened).names == ("Name", "E-Mail", "Note", "Note")
        assert [(row.cells[0], row.verdict is None) for row in stored_rows(store, opened)] == [
            ("Doe; Ann", True),
            ("Bo", False),
            ("Ann2", True),
        ]


def test_a_run_that_an_older_version_began_is_still_read_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "verify.db"
    script = (Path(results_store.__file__).parent / "migrations/results/0001_runs.sql").read_text()
    with ResultStore(tmp_path / "new.db") as new, closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        new.open_run("only for the number that says whose it is", now=1.0)
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        connection.execute("INSERT INTO run (id, key, created_at, rows) VALUES (1, 'list', 1.0, 1)")
        connection.execute("INSERT INTO address VALUES (1, 1, 'ann@x.test', NULL, NULL)")
        connection.execute("INSERT INTO input VALUES (1, 2, 'ann@x.test', 1)")
        connection.execute(f"PRAGMA application_id = {owner}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    with ResultStore(path) as store:
        opened = store.open_run("list", now=2.0)
        assert opened.is_resumed and stored_columns(store, opened).is_bare
        add_list(store, opened, ListReader(io.BytesIO(b"name,email\nAnn,ann@x.test\nBo,bo@x.test\n")), lambda row: None)
        assert [row.cells for row in stored_rows(store, opened)] == [("", "ann@x.test"), ("Bo", "bo@x.test")]
        assert not any(row.verdict for row in stored_rows(store, opened)) and store.counts(opened).addresses == 2


def test_each_address_is_kept_once_and_each_row_gets_its_line(tmp_path: Path) -> None:
    # More than a batch, with addresses that come again within it, later, and in other spellings.
    texts = [f"u{number % 1500}@{'X' if number % 2 else 'x'}.test" for number in range(4001)]
    bad: list[BadRow] = []
    with ResultStore(tmp_path / "verify.db") as store:
        opened = store.open_run("list", now=1.0)
        add_list(store, opened, ListReader(io.BytesIO("\n".join(texts).encode())), bad.append)
        assert store.counts(opened).addresses == 1500 and store.counts(opened).rows == 4001
        found = list(store.results(opened))
    assert not bad
    assert [(row.text, row.address) for row in found] == [(text, text.lower()) for text in texts]


@given(st.from_regex(r"[A-Za-z0-9_+.-]{1,20}@[A-Za-z0-9.-]{1,30}", fullmatch=True))
def test_the_quick_way_to_the_canonical_form_is_the_form(text: str) -> None:
    checked = check(text)
    assert canonical(text) == (str(checked) if type(checked).__name__ == "Address" else text)


# Clean, risky, remove --------------------------------------------------------------------------------------------

MIXED = (
    'Name,E-Mail,Note\nA,deliverable@x.test,"q""q"\nB,risky@x.test,\nC,unknown@x.test,=1\n'
    "D,undeliverable@x.test,,more\nE,do_not_mail@x.test,\nF,Deliverable@x.test,y\n"
)


def test_a_list_is_split_into_files_ready_to_import(tmp_path: Path) -> None:
    rows, columns = run(MIXED, tmp_path)
    counts = split_list(tmp_path / "out", rows, columns)
    assert counts == {"clean": 2, "risky": 2, "remove": 2}
    found = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert found == {
        "clean.csv": 'Name,E-Mail,Note\nA,deliverable@x.test,"q""q"\nF,Deliverable@x.test,y\n',
        "risky.csv": "Name,E-Mail,Note\nB,risky@x.test,\nC,unknown@x.test,'=1\n",
        "remove.csv": "Name,E-Mail,Note\nD,undeliverable@x.test,,more\nE,do_not_mail@x.test,\n",
    }


def test_rows_not_reached_are_a_file_of_their_own_until_they_are(tmp_path: Path) -> None:
    rows, columns = run("email;x\nrisky@x.test;1\nb@x.test;2\n", tmp_path, unasked=["b@x.test"])
    assert split_list(tmp_path, rows, columns) == {"clean": 0, "risky": 1, "remove": 0, "unchecked": 1}
    assert (tmp_path / "unchecked.csv").read_text() == "email;x\nb@x.test;2\n"
    assert (tmp_path / "clean.csv").read_text() == "email;x\n"
    assert split_list(tmp_path, rows[:1], columns) == {"clean": 0, "risky": 1, "remove": 0}
    assert not (tmp_path / "unchecked.csv").exists()


def test_a_list_without_a_header_is_split_without_one(tmp_path: Path) -> None:
    rows, columns = run("a@x.test\nrisky@x.test\n", tmp_path)
    split_list(tmp_path, rows, columns)
    assert (tmp_path / "clean.csv").read_text() == "a@x.test\n"
    assert (tmp_path / "remove.csv").read_text() == ""


def test_files_of_an_earlier_run_stay_whole_when_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "clean.csv").write_text("earlier")
    rows, columns = run(MIXED, tmp_path)

    def broken() -> Iterator[JudgedRow]:
        yield rows[0]
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        split_list(tmp_path, broken(), columns)
    assert (tmp_path / "clean.csv").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir() if "csv" in path.name] == ["clean.csv"]
