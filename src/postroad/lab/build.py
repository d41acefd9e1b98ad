"""How a world comes about: a budget of addresses is dealt out to sites, until it is spent."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from postroad.lab.catalogue import CATALOGUE, DOWN, EVERY, FAULTS, SHAPES
from postroad.lab.names import BAD, domain_name, local_part, mistyped
from postroad.lab.personality import Options, Standing
from postroad.lab.truth import UNDELIVERABLE, Kind, Need, Truth
from postroad.lab.world import MAX_ADDRESSES, DomainSpec, HostSpec, World, WorldSettings
from postroad.lab.zone import Fault, Records, reverse_name

FIRST_HOST = "127.1.0.1"
MIX = ((0.62, Standing.EXISTS), (0.90, Standing.ABSENT), (0.95, Standing.FULL), (1.0, Standing.DISABLED))
_KINDS = {
    Standing.EXISTS: Kind.EXISTS,
    Standing.ABSENT: Kind.ABSENT,
    Standing.FULL: Kind.FULL,
    Standing.DISABLED: Kind.DISABLED,
}
HOSTING = ("honest", "honest", "greylisting", "rate_limited", "tarpit")
"""What hosts of many domains are like."""


def build_world(seed: int, settings: WorldSettings | None = None, /, **changes: Any) -> World:
    """The world of that seed; `changes` are fields of WorldSettings. Raises ValueError for what cannot be built."""
    settings = replace(settings or WorldSettings(), **changes)
    if not 1 <= settings.addresses <= MAX_ADDRESSES:
        raise ValueError(f"a world has 1 to {MAX_ADDRESSES:,} addresses, not {settings.addresses}")
    strange = sorted(set(settings.personalities) - set(EVERY))
    if strange or not settings.personalities:
        raise ValueError(
            f"no personality of the lab: {', '.join(strange) or 'none given'}; they are {', '.join(EVERY)}"
        )
    return _Builder(seed, settings).build()


class _Builder:
    def __init__(self, seed: int, settings: WorldSettings) -> None:
        self.seed = seed
        self.settings = settings
        self.chance = random.Random(f"postroad lab {seed}")  # noqa: S311 - repeatable, no secret
        self.hosts: dict[str, HostSpec] = {}
        self.domains: dict[str, DomainSpec] = {}
        self.zone: dict[str, Records] = {}
        self.truths: list[Truth] = []
        self.left = 0
        self._number = 0
        self._next_host = int(ipaddress.IPv4Address(FIRST_HOST))
        self._next_private = int(ipaddress.ip_network(settings.private_network).network_address) + 1

    def build(self) -> World:
        settings = self.settings
        total = settings.addresses
        again, bad = round(total * settings.again), round(total * settings.bad)
        wrong = round(total * settings.mistyped)
        self.left = max(1, total - again - bad - wrong)
        self._deal()
        texts = {truth.address: truth for truth in self.truths}
        self._add_mistyped(texts, wrong)
        self._add_bad(texts, bad)
        self._add_again(texts, total - len(texts))
        order = list(texts)
        self.chance.shuffle(order)
        self._name_probers()
        return World(
            self.seed, settings, self.hosts, self.domains, self.zone, {text: texts[text] for text in order[:total]}
        )

    # Sites ----------------------------------------------------------------------------------------------------

    def _deal(self) -> None:
        settings = self.settings
        total = self.left
        first_round = list(settings.personalities)
        self.chance.shuffle(first_round)
        share = max(1, min(settings.per_domain, total // (2 * len(first_round))))
        for name in first_round:
            self._add_site(name, self._size(share))
        if "honest" in settings.personalities and total >= 200:
            self._add_provider(round(total * settings.provider))
            self._add_hosting(round(total * settings.hosting))
        deck = [name for name in settings.personalities for _ in range(_weight(name))]
        mean = settings.per_domain if settings.is_even else min(settings.per_domain, max(3, total // len(deck)))
        while self.left > 0:
            self._add_site(self.chance.choice(deck), self._size(mean))

    def _size(self, mean: int) -> int:
        spread = 0 if self.settings.is_even else mean * 3 // 4
        return min(self.left, self.chance.randint(mean - spread, mean + spread))

    def _add_site(self, name: str, size: int) -> None:
        """A domain of its own, with what the personality asks for."""
        if size < 1:
            return
        domain = self._new_domain()
        if name in FAULTS:
            self._add_faulty(name, domain, size)
        elif name in DOWN:
            host = self._add_host(f"mx.{domain}", domain, name)
            self._serve(domain, [host], name, size)
        elif name in SHAPES:
            self._add_shaped(name, domain, size)
        else:
            host = self._add_host(f"{self.chance.choice(('mx', 'mx1', 'mail', 'in'))}.{domain}", domain, name)
            self._serve(domain, [host], name, size)

    def _add_shaped(self, name: str, domain: str, size: int) -> None:
        if name == "no_mx":
            host = self._add_host(domain, domain, "honest")
            self._serve(domain, [host], name, size, has_mx=False)
            return
        host = self._add_host(f"mx.{domain}", domain, "honest")
        if name == "backup":
            down = self._add_host(f"mx0.{domain}", domain, self.chance.choice(DOWN))
            self._serve(domain, [down, host], name, size)
        elif name == "alias":
            target = f"real.{domain}"
            self.zone[domain] = Records(cname=target)
            self._serve(domain, [host], name, size, at=target)
        elif name == "not_served":
            self._serve(domain, [host], name, size)
            del self.domains[domain]
        else:
            others = Standing.EXISTS if name == "catch_all" else Standing.BOUNCES
            self._serve(domain, [host], name, size, others=others)

    def _add_provider(self, size: int) -> None:
        domain = self._new_domain()
        options = {"tls": 1.0, "pipelining": 1.0}
        hosts = [self._add_host(f"mx{number}.{domain}", domain, "honest", options) for number in (1, 2, 3)]
        self._serve(domain, hosts, "honest", min(size, self.left), is_level=True)

    def _add_hosting(self, size: int) -> None:
        while size > 0 and self.left > 0:
            site = self._new_domain()
            allowed = [name for name in HOSTING if name in self.settings.personalities]
            personality = self.chance.choice(allowed)
            options = self._options(personality)
            count = 1 if personality != "honest" else 2
            hosts = [self._add_host(f"mx{n}.{site}", site, personality, options) for n in range(1, count + 1)]
            for _ in range(self.chance.randint(5, 40)):
                here = min(size, self.left, self.chance.randint(1, 6))
                if here < 1:
                    return
                is_catch_all = "catch_all" in self.settings.personalities and self.chance.random() < 0.1
                others = Standing.EXISTS if is_catch_all else Standing.ABSENT
                self._serve(self._new_domain(), hosts, personality, here, others=others, is_level=True)
                size -= here

    def _new_domain(self) -> str:
        self._number += 1
        return domain_name(self.chance, self._number)

    def _options(self, personality: str) -> Options:
        if personality in DOWN:
            return {}
        return CATALOGUE[personality].draw(self.chance, self.settings.pace)

    def _add_host(self, name: str, site: str, personality: str, options: Options | None = None) -> str:
        while self._next_host & 0xFF in (0, 255):
            self._next_host += 1
        address = str(ipaddress.IPv4Address(self._next_host))
        self._next_host += 1
        seed = self.chance.randint(0, 2**32)
        drawn = self._options(personality) if options is None else options
        self.hosts[name] = HostSpec(name, address, site, personality, drawn, seed)
        before = self.zone.get(name, Records())
        self.zone[name] = replace(before, a=(address,))
        self.zone[reverse_name(address)] = Records(ptr=(name,))
        return name

    # Domains and their people ---------------------------------------------------------------------------------

    def _serve(
        self,
        domain: str,
        hosts: Sequence[str],
        personality: str,
        size: int,
        *,
        others: Standing = Standing.ABSENT,
        at: str = "",
        has_mx: bool = True,
        is_level: bool = False,
    ) -> None:
        """A domain with `size` addresses on those hosts, the first preferred unless `is_level`; records stand `at`."""
        if has_mx:
            step = 0 if is_level else 10
            mx = tuple((10 + step * index, host) for index, host in enumerate(hosts))
            self.zone[at or domain] = Records(mx=mx, txt=("v=spf1 mx -all",))
        people = self._people(size, takes_all=others is not Standing.ABSENT)
        mailboxes = {local: standing for local, standing in people if standing is not Standing.ABSENT}
        self.domains[domain] = DomainSpec(domain, tuple(hosts), personality, mailboxes, others)
        host = self.hosts[hosts[-1]]
        for local, standing in people:
            self.truths.append(self._truth(f"{local}@{domain}", personality, host, standing, others))

    def _people(self, size: int, *, takes_all: bool = False) -> list[tuple[str, Standing]]:
        found: dict[str, Standing] = {}
        for _ in range(size):
            drawn = self.chance.random()
            standing = next(standing for bound, standing in MIX if drawn < bound)
            if takes_all and standing in (Standing.FULL, Standing.DISABLED):
                standing = Standing.EXISTS
            found[local_part(self.chance, found)] = standing
        self.left -= size
        return list(found.items())

    def _truth(self, address: str, personality: str, host: HostSpec, standing: Standing, others: Standing) -> Truth:
        kind = _KINDS[standing] if others is Standing.ABSENT else Kind.CATCH_ALL
        entry = CATALOGUE.get(host.personality)
        needs: frozenset[Need] = frozenset()
        wait = 0.0
        also: frozenset[str] = frozenset()
        if personality == "not_served":
            kind, also = Kind.UNDECIDABLE, frozenset({UNDELIVERABLE})
        elif entry is None or not entry.is_decidable(host.options):
            kind = Kind.UNDECIDABLE
        else:
            needs = entry.needs
            wait = host.options.get("delay_s", 0.0)
            if others is Standing.ABSENT and standing is Standing.ABSENT and host.options.get("knows_first"):
                needs, wait = needs - {Need.TIME}, 0.0
        name = "catch_all" if others is Standing.EXISTS else personality
        return Truth(address=address, kind=kind, personality=name, site=host.site, needs=needs, wait_s=wait, also=also)

    def _add_faulty(self, name: str, domain: str, size: int) -> None:
        records: Records | None = None
        kind, also = Kind.NO_MAIL, frozenset[str]()
        match name:
            case "null_mx":
                records = Records(mx=((0, ""),))
            case "no_host":
                records = Records(txt=("nothing to see",))
            case "private_mx":
                kind, also = Kind.UNDECIDABLE, frozenset({UNDELIVERABLE})
                self.zone[f"mx.{domain}"] = Records(a=(str(ipaddress.IPv4Address(self._next_private)),))
                self._next_private += 1
                records = Records(mx=((10, f"mx.{domain}"),))
            case "dns_fails":
                kind = Kind.UNDECIDABLE
                records = Records(fault=self.chance.choice((Fault.SERVFAIL, Fault.REFUSED)))
            case "dns_silent":
                kind = Kind.UNDECIDABLE
                records = Records(fault=Fault.SILENT)
        if records is not None:
            self.zone[domain] = records
        for local, _ in self._people(size):
            self.truths.append(Truth(address=f"{local}@{domain}", kind=kind, personality=name, also=also))

    # What lists are full of -----------------------------------------------------------------------------------

    def _add_mistyped(self, texts: dict[str, Truth], count: int) -> None:
        known = list(self.domains) or [self._new_domain()]
        for _ in range(count):
            domain = mistyped(self.chance, self.chance.choice(known))
            address = f"{local_part(self.chance, ())}@{domain}"
            if domain not in self.domains and domain not in self.zone:
                texts[address] = Truth(address=address, kind=Kind.NO_MAIL, personality="no_domain")

    def _add_bad(self, texts: dict[str, Truth], count: int) -> None:
        known = list(self.domains) or [self._new_domain()]
        for _ in range(count):
            text = self.chance.choice(BAD).format(local=local_part(self.chance, ()), domain=self.chance.choice(known))
            texts[text] = Truth(address=text, kind=Kind.BAD_SYNTAX, personality="-")

    def _add_again(self, texts: dict[str, Truth], count: int) -> None:
        """Some addresses a second time, their domains in other letters."""
        for truth in self.chance.sample(self.truths, min(max(0, count), len(self.truths))):
            local, _, domain = truth.address.partition("@")
            text = f"{local}@{self.chance.choice((domain.upper(), domain.title(), domain.capitalize()))}"
            texts.setdefault(text, replace(truth, address=text))

    def _name_probers(self) -> None:
        for address, name in self.settings.probers.items():
            self.zone[name] = Records(a=(address,), mx=((10, name),))
            self.zone[reverse_name(address)] = Records(ptr=(name,))


def _weight(name: str) -> int:
    if name in CATALOGUE:
        return int(CATALOGUE[name].weight)
    return 4 if name == "catch_all" else 1
