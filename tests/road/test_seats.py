"""Workers take turns at a site that bears fewer connections than there are workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from postroad.road.seats import REST_S, Seats

SITE = ("example.org", "")
ANOTHER_PROCESS = """
import sys
from pathlib import Path
from postroad.road.seats import Seats
print(Seats(Path(sys.argv[1])).take(("example.org", ""), int(sys.argv[2]), 0.0) is not None)
"""


def another_gets(path: Path, most: int) -> bool:
    run = subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, str(path), str(most)], capture_output=True, check=True)
    return run.stdout.strip() == b"True"


def test_a_seat_that_one_process_has_no_other_gets(tmp_path: Path) -> None:
    path = tmp_path / "seats"
    seats = Seats(path)
    seat = seats.take(SITE, 1, 0.0)
    assert seat is not None and seats.take(SITE, 1, 0.0) is None
    assert not another_gets(path, 1) and another_gets(path, 2)
    seats.give_back(SITE, seat, 0.0)
    assert another_gets(path, 1), "and the system took that back when the process ended:"
    assert seats.take(SITE, 1, REST_S) is not None
    seats.close()


def test_who_gave_a_seat_back_leaves_it_to_the_others_for_a_while(tmp_path: Path) -> None:
    seats = Seats(tmp_path / "seats")
    seat = seats.take(SITE, 1, 0.0)
    assert seat is not None
    seats.give_back(SITE, seat, 10.0)
    assert seats.take(SITE, 1, 10.0 + REST_S / 2) is None
    assert seats.take(("example.net", ""), 1, 10.0) is not None, "another site is another matter"
    assert seats.take(SITE, 1, 10.0 + REST_S) is not None
    seats.close()
