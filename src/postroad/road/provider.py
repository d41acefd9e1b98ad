"""Who runs mail hosts, and how that provider behaves: known from data (providers.toml), nothing asked of anybody.

The same entry names the site whose limits the hosts share, tells the reading of replies whose words they are, and says
which addresses of the provider's own domains are one mailbox. Pure.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

from postroad.road.site import SiteBounds

MAX_PROVIDERS = 5_000
MAX_NAMES = 5_000
"""Mail host names, or domains, of one provider."""
MAX_NAME_CHARS = 253
_MAX_LABELS = 12

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_NAME = re.compile(
    r"(?:\*|[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)(?:\.(?:\*|[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?))+"
)
_HEADER = re.compile(r"[ \t]*\[\[[ \t]*provider[ \t]*\]\]")


class DataFileError(Exception):
    """A file of data that cannot be used. `place`: file and line; `sentence`: what is wrong there."""

    def __init__(self, place: str, sentence: str) -> None:
        super().__init__(f"{place}: {sentence}")
        self.place = place
        self.sentence = sentence


class ProviderKind(StrEnum):
    """What a provider's mail hosts are for."""

    MAILBOX = "mailbox"
    """Addresses at domains of its own, which anybody may have."""
    HOSTING = "hosting"
    """Its customers' domains."""
    FILTER = "filter"
    """They stand before its customers' hosts."""
    PARKED = "parked"
    """Domains that nobody uses point to them."""


class Answers(StrEnum):
    """What an answer to RCPT proves."""

    HONEST = "honest"
    """Nothing is known against it."""
    ACCEPTS_ALL = "accepts_all"
    """250 proves nothing: mailboxes that do not exist get it too."""
    REJECTS_PROBES = "rejects_probes"
    """A refusal proves nothing: hosts that it does not know get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One row of providers.toml, where each field is explained."""

    key: str
    name: str
    kind: ProviderKind
    mx: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    answers: Answers = Answers.HONEST
    why: str = ""
    dots: bool = False
    tags: str = ""
    aliases: tuple[tuple[str, str], ...] = ()
    folds_case: bool = True
    mail: SiteBounds = field(default_factory=SiteBounds)
    probe: SiteBounds = field(default_factory=SiteBounds)

    def mailbox(self, local: str, domain: str) -> tuple[str, str]:
        """The local part and domain under which this provider keeps a mailbox of one of its `domains`."""
        if local.isascii():
            kept = local.lower() if self.folds_case else local
            if self.tags:
                kept = kept.partition(self.tags)[0]
            if self.dots:
                kept = kept.replace(".", "")
            local = kept or local
        for other, main in self.aliases:
            if domain == other:
                return local, main
        return local, domain


class Providers:
    """Providers, found by their hosts and domains. Of several rows with one key the last counts."""

    def __init__(self, rows: Iterable[Provider]) -> None:
        self.by_key: dict[str, Provider] = {row.key: row for row in rows}

    def __iter__(self) -> Iterator[Provider]:
        return iter(self.by_key.values())

    def replaced(self, rows: Iterable[Provider]) -> Providers:
        """These and those; of one key, those. They come first where two claim a name."""
        own = {row.key: row for row in rows}
        return Providers([*(row for row in self if row.key not in own), *own.values()])

    @cached_property
    def _hosts(self) -> dict[str, Provider]:
        return {name: row for row in self for name in row.mx if "*" not in name}

    @cached_property
    def _patterns(self) -> dict[str, list[tuple[re.Pattern[str], Provider]]]:
        """Last two labels → what names with any label in them look like."""
        found: dict[str, list[tuple[re.Pattern[str], Provider]]] = {}
        for row in self:
            for name in row.mx:
                if "*" in name:
                    pattern = re.compile(r"(?:.*\.)?" + re.escape(name).replace(r"\*", "[^.]+"))
                    found.setdefault(_tail(name), []).insert(0, (pattern, row))
        return found

    @cached_property
    def by_domain(self) -> dict[str, Provider]:
        """Domains where addresses are given to the public."""
        return {domain: row for row in self for domain in row.domains}

    def of_host(self, host: str) -> Provider | None:
        """Who runs a mail host of that name; the closest name counts."""
        name = host.lower().rstrip(".")
        for pattern, row in self._patterns.get(_tail(name), ()):
            if pattern.fullmatch(name):
                return row
        for _ in range(_MAX_LABELS):
            found = self._hosts.get(name)
            if found is not None:
                return found
            _, dot, name = name.partition(".")
            if not dot:
                break
        return None

    def of(self, hosts: Sequence[str], domain: str = "") -> Provider | None:
        """Who answers for a domain whose hosts are these, the most preferred first.

        The first host decides. The domain does only where it is a provider's own and no host is given: who moved
        elsewhere with its mail is answered for by somebody else.
        """
        return self.of_host(hosts[0]) if hosts else self.by_domain.get(domain)

    def mail_operator(self, hosts: Sequence[str]) -> tuple[str, SiteBounds] | None:
        """For `SitePresets`: the site's key, and what it bears in deliveries."""
        found = self.of(hosts)
        return None if found is None else (found.key, found.mail)

    def probe_operator(self, hosts: Sequence[str]) -> tuple[str, SiteBounds] | None:
        """For `SitePresets`: the site's key, and what it bears in verification."""
        found = self.of(hosts)
        return None if found is None else (found.key, found.probe)


@lru_cache(maxsize=1)
def providers() -> Providers:
    """Those that come with us."""
    text = files("postroad.road").joinpath("providers.toml").read_text(encoding="utf-8")
    return Providers(read_providers(text, "providers.toml"))


@lru_cache(maxsize=10_000)
def provider_key(host: str) -> str | None:
    """The key of who runs a mail host, where it is known: whose words its replies are."""
    found = providers().of_host(host)
    return None if found is None else found.key


def read_providers(text: str, place: str) -> list[Provider]:
    """The rows of a file like providers.toml. Raises DataFileError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words, _, rest = str(error).partition(" (at ")
        line = re.match(r"line (\d+)", rest)
        number = line[1] if line else max(1, len(text.splitlines()))
        raise DataFileError(f"{place}:{number}", f"not TOML: {words[:1].lower()}{words[1:]}") from None
    except (ValueError, RecursionError):
        raise DataFileError(place, "has a number too long or lists too deep to be read") from None
    rows = document.pop("provider", [])
    if document:
        raise DataFileError(place, f"holds {next(iter(document))!r}, but only [[provider]] tables may stand there")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataFileError(place, "each provider must stand below a line [[provider]]")
    if len(rows) > MAX_PROVIDERS:
        raise DataFileError(place, f"has more than {MAX_PROVIDERS} providers")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]
    places = [f"{place}:{line}" for line in lines] if len(lines) == len(rows) else [place] * len(rows)
    return [_provider(row, at) for row, at in zip(rows, places, strict=True)]


def _provider(row: dict[str, Any], place: str) -> Provider:
    def wrong(sentence: str) -> DataFileError:
        return DataFileError(place, f"the provider {sentence}")

    def taken(name: str, kind: type, default: Any) -> Any:
        value = row.pop(name, default)
        if not isinstance(value, kind):
            raise wrong(f"needs {_KINDS[kind]} as {name}")
        return value

    def names(name: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        found = tuple(
            item.lower().strip(".") if isinstance(item, str) else "" for item in taken(name, list, [])[: MAX_NAMES + 1]
        )
        if len(found) > MAX_NAMES:
            raise wrong(f"has more than {MAX_NAMES} names in {name}")
        for item in found:
            if len(item) > MAX_NAME_CHARS or not pattern.fullmatch(item) or (name != "mx" and "*" in item):
                raise wrong(f"has something in {name} that is no domain name: {item[:60]!a}")
        return found

    row = dict(row)
    key = taken("key", str, "")
    if not _KEY.fullmatch(key):
        raise wrong("needs a key of a few lower-case letters and digits")
    kind, answers = taken("kind", str, "hosting"), taken("answers", str, "honest")
    if kind not in list(ProviderKind):
        raise wrong(f"may be of kind {_choices(ProviderKind)}, not {kind[:60]!a}")
    if answers not in list(Answers):
        raise wrong(f"may have as answers {_choices(Answers)}, not {answers[:60]!a}")
    tags = taken("tags", str, "")
    if len(tags) > 1 or tags.isalnum():
        raise wrong("may have one character that is no letter or digit as tags")
    aliases = taken("aliases", dict, {})
    domains = names("domains", _NAME)
    if not _are_aliases(aliases, domains):
        raise wrong("may have aliases only between different ones of its domains, and none of an alias")
    found = Provider(
        key=key,
        name=taken("name", str, key),
        kind=ProviderKind(kind),
        mx=names("mx", _NAME),
        domains=domains,
        answers=Answers(answers),
        why=taken("why", str, ""),
        dots=taken("dots", bool, False),
        tags=tags,
        aliases=tuple(aliases.items()),
        folds_case=taken("folds_case", bool, True),
        mail=_bounds(taken("mail", dict, {}), "mail", place),
        probe=_bounds(taken("probe", dict, {}), "probe", place),
    )
    if row:
        raise wrong(f"has a field that is not known: {next(iter(row))[:60]!a}")
    return found


def _are_aliases(aliases: dict[str, Any], domains: tuple[str, ...]) -> bool:
    mains = [main for main in aliases.values() if isinstance(main, str)]
    return len(mains) == len(aliases) and set(aliases) <= set(domains) and set(mains) <= set(domains) - set(aliases)


_KINDS = {str: "a text", list: "a list", dict: "a table", bool: "true or false"}
_BOUNDS = {bound.name for bound in fields(SiteBounds)}


def _bounds(table: dict[str, Any], name: str, place: str) -> SiteBounds:
    for limit, value in table.items():
        if limit not in _BOUNDS:
            raise DataFileError(place, f"the provider has a limit in {name} that is not known: {limit[:60]!a}")
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
            raise DataFileError(place, f"the provider needs a whole number from 1 to 1000000 as {limit} in {name}")
    return SiteBounds(**table)


def _choices(words: type[StrEnum]) -> str:
    return ", ".join(words)


def _tail(name: str) -> str:
    return ".".join(name.rsplit(".", 2)[-2:])
