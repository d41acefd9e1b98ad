"""Names for the lab's people and domains, by chance and all of them invented; domains end as RFC 2606 reserves it."""

from __future__ import annotations

from collections.abc import Container

from postroad.lab.wording import Chance

FIRST = (
    *("ada", "ben", "cleo", "dan", "edda", "finn", "gus", "hilda", "ivo", "jane", "kim", "lars", "mia", "ned", "olga"),
    *("paul", "quinn", "rosa", "sven", "tilda", "uwe", "vera", "will", "xenia", "yuri", "zoe"),
)
LAST = (
    *("acorn", "birch", "cedar", "dune", "elm", "fern", "grove", "hazel", "iris", "juniper", "kelp", "larch", "moss"),
    *("nettle", "oak", "pine", "quince", "reed", "sage", "thorn", "umber", "vine", "willow", "yarrow"),
)
THINGS = (
    *("anchor", "bell", "candle", "drum", "engine", "flute", "globe", "harbor", "island", "jar", "kettle", "lamp"),
    *("mill", "needle", "orchard", "paper", "quarry", "rope", "saddle", "tower", "umbrella", "valley", "wagon"),
)


def local_part(chance: Chance, taken: Container[str]) -> str:
    """A local part that is not taken yet."""
    while True:
        first, last, number = chance.choice(FIRST), chance.choice(LAST), chance.randint(1, 99_999)
        form = chance.randint(0, 4)
        local = (f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}", f"{first}{number}", f"{last}.{first}")[form]
        if local in taken:
            local = f"{local}{number}"
        if local not in taken:
            return local


def domain_name(chance: Chance, number: int) -> str:
    """The domain of that number; no two numbers share one."""
    return f"{chance.choice(THINGS)}-{chance.choice(LAST)}{number}.{chance.choice(('example', 'test'))}"


def mistyped(chance: Chance, domain: str) -> str:
    """The domain with two letters of its first label swapped, or one left out or doubled."""
    label, _, rest = domain.partition(".")
    at = chance.randint(0, max(0, len(label) - 2))
    forms = (
        label[:at] + label[at + 1 : at + 2] + label[at : at + 1] + label[at + 2 :],
        label[:at] + label[at + 1 :],
        label[: at + 1] + label[at:],
    )
    wrong = chance.choice(forms).strip("-") or f"{label}{label}"
    return f"{wrong if wrong != label else label + label[-1:]}.{rest}"


BAD = (
    "{local}{domain}",
    "{local}@@{domain}",
    "{local} {domain}",
    "{local}@",
    "@{domain}",
    ".{local}@{domain}",
    "{local}..x@{domain}",
    "{local}@-{domain}",
    "{local}@{domain}..",
    "{local},{local}@{domain}",
    "{local}@[192.0.2.300]",
)
"""Forms that are no address."""
