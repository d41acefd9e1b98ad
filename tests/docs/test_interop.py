"""docs/reference/interop.md names each peer and each extension that the tests cover, and no cell is empty."""

from __future__ import annotations

import re

from peers.interop_table import COVERED, PAGE, read

CELL = re.compile(r"yes(, as [\w/-]+)?|not offered|not used|not in the program|no: .+")


def test_the_page_names_what_the_tests_cover_and_nothing_else() -> None:
    cells = read(PAGE.read_text()).cells
    covered = {(section, peer, row) for section, (peers, rows) in COVERED.items() for peer in peers for row in rows}
    assert cells.keys() == covered, "run `make interop`"
    assert all(cells.values())


def test_each_cell_about_an_extension_is_one_of_the_answers_that_the_page_explains() -> None:
    table = read(PAGE.read_text())
    odd = [cell for (_, _, row), cell in table.cells.items() if not CELL.fullmatch(cell) and row not in PROSE_ROWS]
    assert odd == []
    assert table.page() == PAGE.read_text(), "run `make interop`"


PROSE_ROWS = ("spoken", "what it does")
