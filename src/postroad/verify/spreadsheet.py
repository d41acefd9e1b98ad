"""XLSX, XLSB, XLS and ODS: the rows of the first sheet that holds addresses. Runs in the process of `apart` only."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, Any

from postroad.verify.address import looks_like_address
from postroad.verify.lines import ListError
from postroad.verify.rows import Cell, storable

MAX_UNPACKED_OCTETS = 2 << 30
"""What the parts of an XLSX or ODS file may come to, as it says itself; the memory's limit ends the rest."""
MAX_PARTS = 10_000
MAX_SHEETS = 200
LOOK_ROWS = 1000
"""Rows of a sheet that are looked at for an address."""


def rows(file: IO[bytes]) -> Iterator[tuple[int, list[Cell]]]:
    """Row numbers as the spreadsheet has them, and cells. Empty rows are left out. Raises ListError."""
    _check_zip(file)
    import python_calamine as calamine

    try:
        workbook = calamine.load_workbook(file)
        yield from _numbered(_chosen(workbook).iter_rows())
    except calamine.PasswordError:
        raise ListError("the spreadsheet is encrypted: save it without a password, or as CSV") from None
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise ListError(f"the spreadsheet cannot be read ({str(error)[:200]}): save it as CSV") from None


def _check_zip(file: IO[bytes]) -> None:
    if file.read(2) == b"PK":
        try:
            with zipfile.ZipFile(file) as packed:
                parts = packed.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ListError(f"the spreadsheet is damaged ({error}): save it as CSV") from None
        names = {part.filename for part in parts[:MAX_PARTS]}
        if not any(name.startswith("xl/") for name in names) and "content.xml" not in names:
            raise ListError("this is an archive and no spreadsheet: unpack it, and give the list that is in it")
        if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED_OCTETS:
            raise ListError(
                f"the spreadsheet unpacks to over {MAX_UNPACKED_OCTETS >> 30} GB, or has too many parts: save it as CSV"
            )
    file.seek(0)


def _chosen(workbook: Any) -> Any:
    """The first sheet with an address, or the first that is not empty, or the first."""
    spare = None
    for name in workbook.sheet_names[:MAX_SHEETS]:
        sheet = workbook.get_sheet_by_name(name)
        found = list(islice(sheet.iter_rows(), LOOK_ROWS)) if sheet.height else []
        cells = [cell for row in found for cell in row if isinstance(cell, str)]
        if any(map(looks_like_address, cells)):
            return sheet
        if spare is None and cells:
            spare = name
    if not workbook.sheet_names:
        raise ListError("the spreadsheet has no sheets: save the list as CSV")
    return workbook.get_sheet_by_name(spare or workbook.sheet_names[0])


def _numbered(found: Iterable[list[Any]]) -> Iterator[tuple[int, list[Cell]]]:
    for number, row in enumerate(found, 1):
        cells = [_cell(value) for value in row]
        while cells and cells[-1] == "":
            cells.pop()
        if cells:
            yield number, cells


def _cell(value: Any) -> Cell:
    """Whole numbers without a point, days without midnight, times as ISO 8601 has them."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, datetime.datetime):
        is_day = value.time() == datetime.time()
        return value.date().isoformat() if is_day else value.isoformat(sep=" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)
