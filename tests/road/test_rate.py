"""A rate is kept in any window, at the cost of what has grown old, and exactly as counting everything anew would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroad.road.rate import LOOK_AGAIN_S, RateWindow

STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "ask"]), st.floats(0, 40), st.integers(1, 12)),
    max_size=80,
)


def counted_anew(
    under_way: list[int], ended: list[tuple[float, int]], wanted: int, now: float, window: RateWindow
) -> float:
    """The wait, by looking at all that ever ended."""
    young = [(at, amount) for at, amount in ended if at > now - window.seconds]
    too_much = sum(under_way) + sum(amount for _, amount in young) + min(wanted, window.most) - window.most
    if too_much <= 0:
        return 0.0
    wait = 0.0
    for at, amount in young:
        too_much -= amount
        wait = at + window.seconds - now
        if too_much <= 0:
            return wait
    return max(wait, LOOK_AGAIN_S)


@given(STEPS, st.one_of(st.integers(1, 30), st.floats(0.1, 30)))
def test_the_wait_is_that_of_counting_everything_anew(steps: list[tuple[str, float, int]], rate: float) -> None:
    window, now = RateWindow(rate), 0.0
    under_way, ended = list[int](), list[tuple[float, int]]()
    for kind, step, amount in steps:
        now += step
        if kind == "begin":
            window.begun(amount)
            under_way.append(amount)
        elif kind == "end" and under_way:
            amount = under_way.pop(0)
            window.ended(amount, now)
            ended.append((now, amount))
        assert window.wait(amount, now) == counted_anew(under_way, ended, amount, now, window)
        assert window.under_way == sum(under_way)


def test_what_ended_at_the_old_rate_counts_at_a_new_one() -> None:
    window = RateWindow(60)
    for second in range(20):
        window.begun(1)
        window.ended(1, float(second))
    assert window.wait(1, 20.0) == 0
    window.use(10)
    assert window.wait(1, 20.0) == 50, "ten of them have to grow old"


def test_what_had_begun_before_there_was_a_rate_takes_room_until_it_has_ended() -> None:
    window = RateWindow(2, under_way=2)
    assert window.wait(1, 0.0) == LOOK_AGAIN_S
    window.ended(1, 0.0)
    window.ended(1, 5.0)
    assert window.wait(1, 5.0) == 55
