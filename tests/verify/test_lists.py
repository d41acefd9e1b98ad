"""Lists of every shape are read, and no list can hurt (H-12)."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.verify.lines import MAX_LINE_OCTETS, ListError, read_lines
from postroad.verify.lists import ListReader
from postroad.verify.rows import MAX_COLUMNS, BadRow, ListRow


def read(data: bytes | str, column: str | None = None) -> tuple[ListReader, list[ListRow], list[BadRow]]:
    reader = ListReader(io.BytesIO(data.encode() if isinstance(data, str) else data), column=column)
    rows = list(reader)
    return reader, [row for row in rows if isinstance(row, ListRow)], [row for row in rows if isinstance(row, BadRow)]


def texts(data: bytes | str, column: str | None = None) -> list[str]:
    return [row.text for row in read(data, column)[1]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    data = "\n".join(delimiter.join(row) for row in (("name", "Email"), ("A", "a@x.test"), ("B", "b@x.test")))
    assert texts(data) == ["a@x.test", "b@x.test"]


@pytest.mark.parametrize(
    "header",
    ["E-Mail", "e-mail address", "Adresse e-mail", "Correo electrónico", "Эл. почта", "メールアドレス", "邮箱",
     "E_MAIL", "Endereço de e-mail", "Sähköposti", "Indirizzo email", "E-postadress"],
)  # fmt: skip
def test_the_column_is_found_by_its_header_in_many_languages(header: str) -> None:
    reader, rows, _ = read(f"contact,{header},note\nz@other.test,broken address,1\nz@other.test,a@x.test,2\n")
    if reader.layout.column != 1:
        assert reader.layout.has_header
    assert [row.text for row in rows] == ["broken address", "a@x.test"]


def test_the_column_is_found_by_its_content_with_and_without_a_header() -> None:
    assert texts("who,where\nA,a@x.test\nB,b@x.test\n") == ["a@x.test", "b@x.test"]
    assert texts("A,a@x.test\nB,b@x.test\n") == ["a@x.test", "b@x.test"]


def test_the_column_can_be_named_or_numbered() -> None:
    data = "Private,Work\na@x.test,b@y.test\n"
    assert texts(data, "work") == ["b@y.test"]
    assert texts(data, "1") == ["a@x.test"]


@pytest.mark.parametrize("wanted", ["3", "0", "nothing"])
def test_a_column_that_is_not_there_is_told_with_those_that_are(wanted: str) -> None:
    with pytest.raises(ListError):
        read("Private,Work\na@x.test,b@y.test\n", wanted)


def test_a_list_without_addresses_asks_for_the_column() -> None:
    with pytest.raises(ListError, match="--column"):
        read("a,b\nc,d\n")


def test_plain_text_one_address_a_line() -> None:
    data = '# a comment\nemail\na@x.test\n\n  b@x.test  \r\n"c@x.test"\n"d e"@x.test\nnot an address\n'
    assert texts(data) == ["a@x.test", "b@x.test", "c@x.test", '"d e"@x.test', "not an address"]


def test_a_broken_first_line_of_a_plain_list_is_no_header() -> None:
    assert texts("broken.example.org\na@x.test\n") == ["broken.example.org", "a@x.test"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_told_apart(encoding: str) -> None:
    data = "Name,E-Mail\nJürgen,j@x.test\n".encode(encoding)
    _, rows, _ = read(data)
    assert [row.cells for row in rows] == [("Jürgen", "j@x.test")]


def test_h12_a_file_of_mixed_encodings_is_read_line_by_line() -> None:
    data = "Name,E-Mail\nJürgen,j@x.test\n".encode() + "Zoë,z@x.test\n".encode("latin-1")
    assert [row.cells[0] for row in read(data)[1]] == ["Jürgen", "Zoë"]


def test_a_row_may_go_over_several_lines_and_the_line_numbers_stay_true() -> None:
    _, rows, bad = read('name,email,note\nA,a@x.test,"one\ntwo, ""three"""\nB,,x\nC,c@x.test,y\n')
    assert [(row.line, row.text) for row in rows] == [(2, "a@x.test"), (5, "c@x.test")]
    assert rows[0].cells[2] == 'one\ntwo, "three"'
    assert bad == [BadRow(4, "there is no address in email")]


def test_a_quote_that_is_not_closed_costs_its_own_line_only() -> None:
    _, rows, bad = read('name,email\n"A,a@x.test\n' + "".join(f"B,b{n}@x.test\n" for n in range(300)))
    assert len(rows) == 300
    assert bad == [BadRow(2, "a quotation mark is not closed")]


def test_h12_a_line_too_long_is_left_out_with_its_number() -> None:
    _, rows, bad = read(b"a@x.test\n" + b"x" * (MAX_LINE_OCTETS * 3) + b"\nb@x.test\n")
    assert [row.text for row in rows] == ["a@x.test", "b@x.test"]
    assert [one.line for one in bad] == [2]


def test_h12_a_line_of_a_gigabyte_takes_no_memory() -> None:
    class Endless:
        left = 1 << 30

        def read(self, size: int, /) -> bytes:
            self.left -= size
            return b"x" * size if self.left > 0 else b""

    assert [line.text for line in read_lines(Endless())] == [None]


def test_h12_too_many_columns_and_nuls() -> None:
    wide = ",".join(["x"] * 10_000)
    _, rows, bad = read(f'name,email\nA,a@x.test\n{wide}\nB,b\0@x.test\n"q",{wide}\nC,c@x.test\n')
    assert [row.text for row in rows] == ["a@x.test", "b\0@x.test", "c@x.test"]
    assert [one.line for one in bad] == [3, 5]
    assert str(MAX_COLUMNS) in bad[0].fault


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"\0\1\0\0\0"])
def test_h12_spreadsheets_and_archives_are_refused_with_advice(start: bytes) -> None:
    with pytest.raises(ListError):
        read(start + b"rest")


def test_old_line_ends() -> None:
    assert texts(b"a@x.test\rb@x.test\r") == ["a@x.test", "b@x.test"]


@given(st.binary(max_size=400))
def test_h12_whatever_the_bytes_are_the_list_is_read_or_refused(data: bytes) -> None:
    try:
        _, rows, bad = read(data)
    except ListError:
        return
    lines = [row.line for row in rows] + [one.line for one in bad]
    assert len(lines) == len(set(lines))


@given(st.lists(st.tuples(st.text(max_size=8), st.text(min_size=1, max_size=8)), min_size=1, max_size=20))
def test_what_csv_writes_is_read_back_whole(rows: list[tuple[str, str]]) -> None:
    import csv

    cells = [
        (a.replace("\r", " ").replace("\0", " "), "x@y.test", b.replace("\r", " ").replace("\0", " ")) for a, b in rows
    ]
    cells = [tuple(cell.encode("utf-8", "replace").decode() for cell in row) for row in cells]  # type: ignore[misc]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("one", "email", "two"), *cells])
    _, read_rows, bad = read(out.getvalue())
    assert not bad
    assert [row.cells for row in read_rows] == cells
