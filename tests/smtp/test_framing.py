"""Where lines and bodies end, judged against the plainest way to say the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.framing import BodyFault, BodyLimits, check_body

LIMIT = 12
lines = st.lists(st.integers(0, LIMIT + 2), max_size=8)


@given(lines, st.booleans())
def test_s10_a_line_is_too_long_exactly_where_counting_each_line_says_so(lengths: list[int], is_ended: bool) -> None:
    written = [b"x" * length for length in lengths]
    body = b"\r\n".join(written) + (b"\r\n" if is_ended else b"")
    is_too_long = any(len(line) + 2 > LIMIT for line in body.split(b"\r\n"))
    checked = check_body(body, BodyLimits(message=10_000, line=LIMIT))
    assert (checked is BodyFault.LONG_LINE) == is_too_long
