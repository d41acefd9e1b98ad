"""What the tests of interoperation share: the table, written at the end of `make interop`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from peers.interop_table import IS_WRITTEN, PAGE, Table


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    made = Table()
    yield made
    if IS_WRITTEN:
        assert not made.missing(), f"interop.md is not written, for this run did not show: {made.missing()}"
        PAGE.write_text(made.page())
