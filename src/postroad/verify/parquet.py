"""Parquet files, by the extra `postroad[parquet]`: read batch by batch. Runs in the process of `apart` only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import IO, Any

from postroad.verify.lines import ListError
from postroad.verify.rows import MAX_COLUMNS, Cell, storable

BATCH_ROWS = 2000
MISSING = "a Parquet file needs pyarrow: pip install 'postroad[parquet]', or save the list as CSV"


def rows(file: IO[bytes]) -> tuple[list[str], Iterator[tuple[int, list[Cell]]]]:
    """The names of the columns, and the rows, numbered from 1. Raises ListError."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ListError(MISSING) from None
    arrow.set_memory_pool(arrow.system_memory_pool())
    arrow.set_cpu_count(1)
    try:
        opened = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        schema = opened.schema_arrow
        names = arrow.Table.from_batches([], schema=schema).flatten().column_names
    except (arrow.ArrowException, OSError, ValueError, TypeError) as error:
        raise _damaged(error) from None
    if len(names) > MAX_COLUMNS:
        raise ListError(f"the Parquet file has more than {MAX_COLUMNS} columns: choose those that matter")
    return names, _rows(opened, arrow)


def _rows(opened: Any, arrow: Any) -> Iterator[tuple[int, list[Cell]]]:
    number = 0
    try:
        for batch in opened.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
            columns = arrow.Table.from_batches([batch]).flatten().columns
            for cells in zip(*(_cells(column, arrow) for column in columns), strict=True):
                number += 1
                yield number, list(cells)
    except (arrow.ArrowException, OSError, ValueError, TypeError) as error:
        raise _damaged(error) from None


def _cells(column: Any, arrow: Any) -> list[Cell]:
    """Times and decimal numbers as text, what is nested as JSON."""
    kind = column.type
    if arrow.types.is_temporal(kind) or arrow.types.is_decimal(kind):
        column = column.cast(arrow.string())
    return [_cell(value) for value in column.to_pylist()]


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value, default=str)


def _damaged(error: Exception) -> ListError:
    return ListError(
        f"the Parquet file cannot be read ({' '.join(str(error).split())[:200]}): write it again, or as CSV"
    )
