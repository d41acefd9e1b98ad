"""Every personality by name: who plays it, how its options are drawn, and what of its mailboxes can be found out.

Pure. Used by world, which deals them out, and by running, which lets them play.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from postroad.lab.at_data import Busy, CutsData, RefusesData
from postroad.lab.delaying import (
    FewConnections,
    Greylisting,
    RateLimited,
    ShortSessions,
    Slow,
    Tarpit,
    Temporary,
)
from postroad.lab.faulty import BreaksTls, Endless, Mute, NoPipelining, OutOfStep, Resets
from postroad.lab.personality import Directory, Options, Personality
from postroad.lab.refusing import BlocksGreeting, BlocksMail, BlocksRecipient, RejectsNull, WantsName, WantsTls
from postroad.lab.truth import Need
from postroad.lab.wording import Chance, Manner


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the slow ones take: seconds of greylisting from and to, and a factor on all other waits."""

    greylist_s: tuple[float, float] = (60.0, 600.0)
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One personality. `weight`: how often it is dealt out, against the others."""

    player: type[Personality]
    weight: float = 1.0
    needs: frozenset[Need] = frozenset()
    draw: Callable[[Chance, Pace], Options] = field(default=lambda chance, pace: {})
    is_decidable: Callable[[Options], bool] = field(default=lambda options: True)


def _often_tls(chance: Chance, pace: Pace) -> Options:
    return {"tls": float(chance.random() < 0.4)}


def _greylisting(chance: Chance, pace: Pace) -> Options:
    shortest, longest = pace.greylist_s
    options = {"delay_s": round(chance.uniform(shortest, longest), 1), "passes": float(chance.choice((0, 0, 5)))}
    return {**options, "knows_first": float(chance.random() < 0.5), "expiry_s": max(14_400.0, 10 * longest)}


def _tarpit(chance: Chance, pace: Pace) -> Options:
    step = round(chance.uniform(0.2, 1.5), 2)
    return {"free": float(chance.randint(2, 10)), "step_s": step * pace.factor, "ceiling_s": 10.0 * pace.factor}


def _slow(chance: Chance, pace: Pace) -> Options:
    return {
        "greeting_s": round(chance.uniform(5, 25), 1) * pace.factor,
        "reply_s": round(chance.uniform(1, 6), 1) * pace.factor,
    }


def _one_of(name: str, *values: float) -> Callable[[Chance, Pace], Options]:
    return lambda chance, pace: {name: chance.choice(values)}


def _nobody(options: Options) -> bool:
    return False


CATALOGUE: Mapping[str, Entry] = {
    "honest": Entry(Personality, weight=10.0, draw=_often_tls),
    "greylisting": Entry(Greylisting, weight=4.0, needs=frozenset({Need.TIME}), draw=_greylisting),
    "tarpit": Entry(Tarpit, weight=2.0, draw=_tarpit),
    "slow": Entry(Slow, weight=2.0, draw=_slow),
    "rate_limited": Entry(
        RateLimited,
        weight=2.0,
        needs=frozenset({Need.TIME}),
        draw=lambda chance, pace: {
            "recipients_in": chance.randint(10, 40),
            "window_s": 60.0 * pace.factor,
            "closes": chance.randint(0, 1),
        },
    ),
    "few_connections": Entry(FewConnections, draw=_one_of("connections", 1, 1, 2)),
    "short_sessions": Entry(
        ShortSessions,
        needs=frozenset({Need.SESSIONS}),
        draw=lambda chance, pace: {"session": chance.randint(3, 10), "cuts": chance.randint(0, 2)},
    ),
    "temporary": Entry(Temporary, is_decidable=_nobody),
    "blocks_greeting": Entry(BlocksGreeting, weight=2.0, draw=_one_of("closes", 0, 1), is_decidable=_nobody),
    "blocks_mail": Entry(BlocksMail, weight=2.0, is_decidable=_nobody),
    "blocks_recipient": Entry(BlocksRecipient, weight=2.0, is_decidable=_nobody),
    "rejects_null": Entry(RejectsNull, weight=2.0, needs=frozenset({Need.SENDER}), draw=_one_of("late", 0, 1)),
    "wants_name": Entry(WantsName, weight=2.0, needs=frozenset({Need.NAME}), draw=_one_of("matching", 0, 1)),
    "wants_tls": Entry(WantsTls),
    "breaks_tls": Entry(BreaksTls, weight=2.0, draw=_one_of("how", 0, 1, 2)),
    "no_pipelining": Entry(NoPipelining, weight=2.0, draw=_one_of("how", 0, 1, 2)),
    "out_of_step": Entry(OutOfStep, draw=_one_of("how", 0, 1, 2), is_decidable=_nobody),
    "endless": Entry(Endless, draw=_one_of("at", 0, 1, 2), is_decidable=_nobody),
    "resets": Entry(
        Resets,
        draw=lambda chance, pace: {"at": chance.randint(0, 2), "resets": chance.randint(0, 1)},
        is_decidable=_nobody,
    ),
    "mute": Entry(Mute, draw=_one_of("at", 0, 1, 2), is_decidable=_nobody),
    "refuses_data": Entry(RefusesData, weight=2.0, draw=_one_of("how", 0, 1, 2, 3)),
    "cuts_data": Entry(CutsData, weight=2.0, draw=_one_of("how", 0, 1, 2)),
    "busy": Entry(
        Busy,
        weight=2.0,
        needs=frozenset({Need.TIME}),
        draw=lambda chance, pace: {"at": chance.randint(0, 2), "every": chance.randint(2, 5)},
    ),
}
"""Of hosts that answer."""

AT_DATA = ("refuses_data", "cuts_data", "busy")
"""Of hosts whose trouble shows in delivery: they are in a world where it is asked for."""

DOWN = ("refused", "unanswered")
"""Of hosts that are not there: the connection is refused, or never answered."""

FAULTS = ("null_mx", "no_domain", "no_host", "private_mx", "dns_fails", "dns_silent")
"""Of domains that no host serves."""

SHAPES = ("catch_all", "bounces_later", "backup", "not_served", "no_mx", "alias")
"""Of domains that an honest host serves: takes everyone, bounces afterwards, has a first MX that is down, belongs to
somebody else, has address records alone, is an alias."""

NAMES = (*(name for name in CATALOGUE if name not in AT_DATA), *DOWN, *FAULTS, *SHAPES)
"""All that a world for verification holds."""

EVERY = (*NAMES, *AT_DATA)
"""All that a world may hold."""


def play(name: str, manner: Manner, directory: Directory, options: Options) -> Personality:
    """A host of that personality, with no memory yet."""
    return CATALOGUE[name].player(manner, directory, options)
