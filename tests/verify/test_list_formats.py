"""Spreadsheets, JSON lines, Parquet and packed text are lists too, and none of them can hurt (H-12)."""

from __future__ import annotations

import gzip
import io
import json
import math
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.verify import gunzip
from postroad.verify.lines import ListError
from postroad.verify.lists import ListReader
from postroad.verify.parquet import MISSING
from postroad.verify.rows import MAX_COLUMNS, BadRow, Cell, ListRow, pack, shown, unpack
from verify.formats import Day, ods, packed, xlsx, xlsx_of


def read(data: bytes | str, column: str | None = None) -> tuple[ListReader, list[ListRow], list[BadRow]]:
    reader = ListReader(io.BytesIO(data.encode() if isinstance(data, str) else data), column=column)
    rows = list(reader)
    return reader, [row for row in rows if isinstance(row, ListRow)], [row for row in rows if isinstance(row, BadRow)]


# Spreadsheets ----------------------------------------------------------------------------------------------------


def test_a_spreadsheet_keeps_its_cells_readable_and_its_row_numbers() -> None:
    data = xlsx([["Name", "E-Mail", "Since", "Paid", "Old"], [], ["Zoë", " a@x.test ", Day(45292), 12.0, True],
                 ["Bo", None, None, 0.5, False], ["Cy", "c@x.test", Day(45292.25)]])  # fmt: skip
    reader, rows, bad = read(data)
    assert rows == [
        ListRow(3, "a@x.test", ("Zoë", " a@x.test ", "2024-01-01", 12, True)),
        ListRow(5, "c@x.test", ("Cy", "c@x.test", "2024-01-01 06:00:00")),
    ]
    assert bad == [BadRow(4, "there is no address in E-Mail")]
    assert reader.columns.titles == ("Name", "E-Mail", "Since", "Paid", "Old")


def test_the_first_sheet_with_addresses_is_taken() -> None:
    notes = [["What this is"], ["A list of customers"]]
    assert [row.text for row in read(xlsx([], notes, [["email"], ["a@x.test"]], [["b@x.test"]]))[1]] == ["a@x.test"]


def test_a_spreadsheet_without_addresses_is_refused_as_a_csv_would_be() -> None:
    with pytest.raises(ListError, match="no column holds addresses"):
        read(xlsx([["a", "b"], ["c", "d"]]))
    assert read(xlsx([]))[1] == []


def test_an_open_document_sheet_is_read() -> None:
    reader, rows, _ = read(ods([["Name", "Email"], ["Ann", "ann@x.test"]]))
    assert reader.header == ("Name", "Email") and rows == [ListRow(2, "ann@x.test", ("Ann", "ann@x.test"))]


def test_a_spreadsheet_on_the_disk_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "list.bin"
    path.write_bytes(xlsx([["email"], ["a@x.test"]]))
    with path.open("rb") as file:
        assert [row.line for row in ListReader(file)] == [2]


def test_h12_a_sheet_of_two_cells_a_terabyte_apart_is_one_sentence() -> None:
    far = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    with pytest.raises(ListError, match="takes more than 4 GB of memory"):
        read(xlsx_of([far]))


def test_h12_a_zip_that_says_it_unpacks_to_too_much_is_not_unpacked() -> None:
    data = bytearray(packed({"xl/workbook.xml": "x", "xl/other.xml": "y"}))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (0xF0000000).to_bytes(4, "little")
    with pytest.raises(ListError, match="unpacks to over"):
        read(bytes(data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (packed({"people.csv": "a@x.test"}), "an archive and no spreadsheet"),
        (b"PK\x03\x04rest", "save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "save it as CSV"),
        (packed({"xl/workbook.xml": "<broken"}), "save it as CSV"),
        (xlsx([["email"], ["a@x.test"]])[:-100], "save it as CSV"),
        (b"%PDF-1.7", "save it as CSV"),
        (b"7z\xbc\xaf\x27\x1c", "unpack it"),
    ],
)
def test_h12_what_is_no_spreadsheet_is_one_sentence(data: bytes, words: str) -> None:
    with pytest.raises(ListError, match=words):
        read(data)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_h12_a_spreadsheet_with_changed_bytes_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(xlsx([["name", "email"], ["A", "a@x.test"]]))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(whole))
    except ListError:
        pass


# JSON lines ------------------------------------------------------------------------------------------------------


def test_json_lines_of_objects_whose_keys_differ() -> None:
    lines = [
        '{"id": 1, "contact": {"email": "a@x.test", "tags": ["x", "y"]}, "ok": true}',
        "",
        '{"email": "not the column", "contact": {"email": "b@x.test"}, "late": 0.5}',
        '{"contact": 5}',
        "[1]",
        "{broken",
        '{"contact": {"email": null}}',
    ]
    reader, _, bad = read("\n".join(lines))
    assert reader.columns.titles == ("id", "contact.email", "contact.tags", "ok", "email", "late", "contact")
    assert [row.text for row in read("\n".join(lines), "contact.email")[1]] == ["a@x.test", "b@x.test"]
    assert {row.line for row in bad} >= {4, 5, 6, 7}
    first = read("\n".join(lines), "contact.email")[1][0]
    assert first.cells == (1, "a@x.test", '["x", "y"]', True)


def test_json_keys_that_come_late_still_become_columns() -> None:
    lines = [json.dumps({"email": f"u{n}@x.test"}) for n in range(300)] + ['{"email": "z@x.test", "new": "é"}']
    reader, rows, _ = read("\n".join(lines))
    assert len(rows) == 301
    assert rows[-1].cells == ("z@x.test", "é")
    assert reader.columns.titles == ("email", "new")


def test_json_lines_of_bare_strings() -> None:
    assert [row.text for row in read('"a@x.test"\n"\\"b c\\"@x.test"\n"\\u00e9@x.test"\n')[1]] == [
        "a@x.test",
        '"b c"@x.test',
        "é@x.test",
    ]


def test_h12_json_of_many_keys_deep_nesting_and_odd_numbers() -> None:
    many = json.dumps({f"k{n}": 1 for n in range(MAX_COLUMNS + 1)})
    deep = '{"email": ' + "[" * 50_000 + "]" * 50_000 + "}"
    odd = '{"email": "a@x.test", "n": NaN, "m": 1e999, "half": "\\ud800", "big": ' + "9" * 5000 + "}"
    good = '{"email": "b@x.test", "n": NaN, "m": 1e999, "half": "\\ud800"}'
    _, rows, bad = read("\n".join([good, deep, odd, many]))
    assert [row.line for row in bad] == [2, 3, 4]
    assert rows[0].cells == ("b@x.test", "NaN", "1e999", "?")


@pytest.mark.parametrize(
    "data", ['[{"email": "a@x.test"},\n{"email": "b@x.test"}]', '{\n  "people": [\n  ]\n}', '["a@x.test"]']
)
def test_one_json_document_is_told_how_to_become_lines(data: str) -> None:
    with pytest.raises(ListError, match="jq"):
        read(data)


plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain


@given(st.lists(st.dictionaries(plain, values, max_size=5), min_size=1, max_size=8))
def test_any_json_objects_are_read_whole(objects: list[dict[str, Any]]) -> None:
    lines = [json.dumps({"email": "a@x.test", **{f"_{key}": value for key, value in one.items()}}) for one in objects]
    reader, found, bad = read("\n".join(lines))
    assert not bad and len(found) == len(objects)
    for row, one in zip(found, objects, strict=True):
        cells = dict(zip(reader.columns.names, row.cells, strict=False))
        assert {key: cells[f"_{key}"] for key in one} == one


# Parquet ---------------------------------------------------------------------------------------------------------


def parquet_of(columns: dict[str, list[Any]]) -> bytes:
    arrow = pytest.importorskip("pyarrow", reason="the extra postroad[parquet] is not installed")
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(arrow.table(columns), out, row_group_size=2)
    return out.getvalue()


def test_parquet_is_read_with_all_its_columns() -> None:
    import datetime
    import decimal

    data = parquet_of(
        {
            "id": [1, 2, 3],
            "who": [{"mail": "a@x.test"}, {"mail": None}, {"mail": "c@x.test"}],
            "since": [datetime.date(2024, 1, 1)] * 3,
            "sum": [decimal.Decimal("1.50")] * 3,
            "tags": [["a"], [], None],
            "raw": [b"\xff", b"x", None],
            "part": [0.5, math.nan, None],
        }
    )
    reader, rows, bad = read(data)
    assert reader.columns.titles == ("id", "who.mail", "since", "sum", "tags", "raw", "part")
    assert rows == [
        ListRow(1, "a@x.test", (1, "a@x.test", "2024-01-01", "1.50", '["a"]', "�", 0.5)),
        ListRow(3, "c@x.test", (3, "c@x.test", "2024-01-01", "1.50", None, None, None)),
    ]
    assert bad == [BadRow(2, "there is no address in who.mail")]


@pytest.mark.parametrize("cut", [4, 12, 60])
def test_h12_a_broken_parquet_file_is_one_sentence(cut: int) -> None:
    with pytest.raises(ListError, match="Parquet file"):
        read(parquet_of({"email": ["a@x.test"]})[:cut] + b"PAR1")


def test_parquet_without_its_extra_is_one_sentence_that_says_how() -> None:
    code = (
        "import io, sys; sys.modules['pyarrow'] = None\n"
        "from postroad.verify import parquet\n"
        "from postroad.verify.lines import ListError\n"
        "try:\n    parquet.rows(io.BytesIO(b'PAR1'))\n"
        "except ListError as error:\n    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == MISSING and "pip install 'postroad[parquet]'" in told


# gzip ------------------------------------------------------------------------------------------------------------


def test_packed_text_is_read_as_what_it_holds() -> None:
    data = "Name,E-Mail\nJürgen,j@x.test\n"
    two = gzip.compress(data.encode()) + gzip.compress(b"Ann,a@x.test\n") + b"\0" * 512
    assert [row.cells for row in read(two)[1]] == [("Jürgen", "j@x.test"), ("Ann", "a@x.test")]
    assert read(gzip.compress(b'{"email": "a@x.test", "n": 1}\n'))[1][0].cells == ("a@x.test", 1)
    assert [row.text for row in read(gzip.compress("a@x.test\nb@x.test\n".encode("utf-16")))[1]] == [
        "a@x.test",
        "b@x.test",
    ]


def test_h12_a_packed_bomb_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    packer = zlib.compressobj(9, wbits=31)
    data = b"".join([packer.compress(b"a@x.test\n" * (1 << 17)) for _ in range(100)]) + packer.flush()
    monkeypatch.setattr(gunzip, "FREE_OCTETS", 1 << 20)
    reader = ListReader(io.BytesIO(data))
    with pytest.raises(ListError, match="far more than a list"):
        for _ in reader:
            pass


@pytest.mark.parametrize(
    "data", [gzip.compress(b"a@x.test\n" * 50)[:-12], gzip.compress(b"a@x.test\n")[:12] + b"\xff" * 30]
)
def test_h12_a_packed_file_that_is_cut_off_or_damaged_is_told(data: bytes) -> None:
    with pytest.raises(ListError, match="gzip file is"):
        read(data)


def test_a_packed_spreadsheet_is_to_be_unpacked() -> None:
    with pytest.raises(ListError, match="unpack it first"):
        read(gzip.compress(xlsx([["a@x.test"]])))


@given(
    st.binary(max_size=300),
    st.sampled_from([b"\x1f\x8b\x08", b"{", b'{"a":1}\n', b"PAR", b"%PD", b"\xff\xfe", b"[", b'"']),
)
def test_h12_whatever_follows_a_beginning_the_list_is_read_or_refused(data: bytes, start: bytes) -> None:
    for whole in (start + data, gzip.compress(data)):
        try:
            read(whole)
        except ListError:
            pass


# Cells -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False), max_size=6))
def test_cells_are_kept_exactly(cells: list[Cell]) -> None:
    assert unpack(pack(cells)) == tuple(cells)
    assert [type(cell) for cell in unpack(pack(cells))] == [type(cell) for cell in cells]
    assert all(isinstance(shown(cell), str) for cell in cells)
