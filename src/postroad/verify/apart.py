"""Spreadsheets and Parquet files, read by a process of its own with a limit to its memory and its time.

Their readers are foreign code that holds a sheet, or a part of the file, as a whole, and a hostile file of a few bytes
can name a sheet of a terabyte: whatever becomes of that process, here it is one clear sentence. The file is its
standard input; its answer is a line of JSON for each row, and one at the end. Used by lists.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import IO, Any, cast

from postroad.verify.lines import ListError, Readable
from postroad.verify.rows import MAX_RECORD_CHARS, BadRow, Cell, Record, shown, storable

MAX_FILE_OCTETS = 200 << 20
"""The largest spreadsheet; a Parquet file may be of any size."""
MAX_MEMORY_OCTETS = 4 << 30
"""Address space of the reading process."""
MAX_CPU_S = 900

Rows = Iterator[tuple[int, list[Cell]]]


class ApartRecords:
    """Iterate over it once. `names`: the columns where the format has names, once the first record was asked for.

    `kind`: `spreadsheet` or `parquet`. Raises ListError while iterating.
    """

    def __init__(self, file: Readable, kind: str) -> None:
        self.names: list[str] = []
        self._file = file
        self._kind = kind

    def __iter__(self) -> Iterator[Record | BadRow]:
        with ExitStack() as stack:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "postroad.verify.apart", self._kind],
                stdin=stack.enter_context(self._opened()),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(_end, process)
            for line in cast(IO[bytes], process.stdout):
                answer = json.loads(line)
                if isinstance(answer, list):
                    yield Record(answer[0], answer[1:])
                elif "bad" in answer:
                    yield BadRow(answer["bad"], f"the row is longer than {MAX_RECORD_CHARS} characters")
                elif "error" in answer:
                    raise ListError(answer["error"])
                elif "names" in answer:
                    self.names += answer["names"]
                else:
                    return
        name = "spreadsheet" if self._kind == "spreadsheet" else "Parquet file"
        raise ListError(
            f"the {name} is damaged, or takes more than {MAX_MEMORY_OCTETS >> 30} GB of memory to read: save it as CSV"
        )

    def _opened(self) -> IO[bytes]:
        """The file as one that another process can read from its beginning."""
        try:
            file = cast(IO[bytes], self._file)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            return open(os.dup(file.fileno()), "rb")  # noqa: PTH123 - a descriptor
        except (AttributeError, OSError):
            copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
            cast(IO[bytes], self._file).seek(0)
            shutil.copyfileobj(cast(IO[bytes], self._file), copy)
            copy.flush()
            return cast(IO[bytes], copy)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    cast(IO[bytes], process.stdout).close()
    process.wait()


# The other process -----------------------------------------------------------------------------------------------


def main(kind: str) -> None:
    """Read the file that is standard input, and answer with its rows on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who reads us is told, and ends us
    _limit()
    with open(1, "wb", closefd=False) as out, suppress(BrokenPipeError):
        try:
            os.lseek(0, 0, os.SEEK_SET)
            file = open(0, "rb", closefd=False)  # noqa: SIM115 - a descriptor
            names, rows = _reading(kind, cast(Any, file))
            _answer(out, {"names": names})
            for number, cells in rows:
                if sum(len(cell) for cell in cells if isinstance(cell, str)) > MAX_RECORD_CHARS:
                    _answer(out, {"bad": number})
                else:
                    _answer(out, [number, *cells])
            _answer(out, {"end": True})
        except ListError as error:
            _answer(out, {"error": str(error)})


def _answer(out: IO[bytes], value: object) -> None:
    out.write(json.dumps(value).encode() + b"\n")


def _reading(kind: str, file: IO[bytes]) -> tuple[list[str], Rows]:
    if kind == "spreadsheet":
        from postroad.verify import spreadsheet

        return [], spreadsheet.rows(file)
    from postroad.verify import parquet

    names, rows = parquet.rows(file)
    return [storable(shown(name)) for name in names], rows


def _limit() -> None:
    import resource

    for what, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_OCTETS),
        (resource.RLIMIT_CPU, MAX_CPU_S),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # a system that does not know this limit, or has a stricter one
            resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main(sys.argv[1])
