"""The keys that sign mail, in files: `<directory>/<domain>/keys.json` says which there are, `<selector>.pem` holds one.

A key begins as pending, signs once it is activated (its record is in DNS then), and stays known after it was retired,
because mail it signed is still on its way. Files are for their owner alone. The server and commands work on them at the
same time: a change is made under a lock of the domain's directory, and replaces the file as a whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from postroad.message.dkim_key import (
    Algorithm,
    PrivateKey,
    PrivateKeyError,
    load_private_key,
    private_pem,
)
from postroad.smtp.address import AddressError, to_a_labels

MAX_FILE_OCTETS = 65_536
MAX_KEYS = 100
"""Of one domain, retired ones among them."""
MAX_DOMAINS = 100_000
KEEP_S = 7 * 86_400.0
"""How long the record of a retired key should stay in DNS: longer than mail is tried."""
_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class KeyStoreError(Exception):
    """Keys that cannot be read, made or kept; the message is one sentence."""


class KeyState(StrEnum):
    """Of a key."""

    PENDING = "pending"
    """Made, and not signing before DNS shows it."""
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptKey:
    """What is known of a key beside the key itself. Times are wall clock; None: not yet."""

    domain: str
    selector: str
    algorithm: Algorithm
    created_at: float
    active_at: float | None = None
    retired_at: float | None = None

    @property
    def state(self) -> KeyState:
        """What it does now."""
        if self.retired_at is not None:
            return KeyState.RETIRED
        return KeyState.PENDING if self.active_at is None else KeyState.ACTIVE


class DkimKeys:
    """The keys of all domains beneath one directory, which need not be there. Everything raises KeyStoreError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def domains(self) -> list[str]:
        """The domains that have keys, by name."""
        try:
            names = sorted(path.name for path in self.directory.iterdir() if (path / "keys.json").is_file())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KeyStoreError(f"{self.directory} cannot be read: {error.strerror}") from None
        return names[:MAX_DOMAINS]

    def keys(self, domain: str) -> list[KeptKey]:
        """The keys of a domain, from the oldest; none of one that is unknown."""
        path = self._place(domain) / "keys.json"
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_OCTETS + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KeyStoreError(f"{path} cannot be read: {error.strerror}") from None
        try:
            found = [_kept(domain, one) for one in json.loads(content[:MAX_FILE_OCTETS])]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise KeyStoreError(f"{path} is damaged: put it back from a backup, or make new keys") from None
        return found[:MAX_KEYS]

    def private(self, kept: KeptKey) -> PrivateKey:
        """The private key itself."""
        return read_private_key(self.path(kept))

    def path(self, kept: KeptKey) -> Path:
        """The file of the private key."""
        return self._place(kept.domain) / f"{kept.selector}.pem"

    def stamp(self) -> tuple[object, ...]:
        """A value that changes when any key does: cheap, for those who hold keys in memory."""
        stamps: list[object] = []
        for domain in self.domains():
            try:
                status = (self._place(domain) / "keys.json").stat()
            except OSError:
                continue
            stamps.append((domain, status.st_mtime_ns, status.st_ino))
        return tuple(stamps)

    # Changes --------------------------------------------------------------------------------------------------

    def make(self, domain: str, algorithms: Sequence[Algorithm], *, now: float, rsa_bits: int = 2048) -> list[KeptKey]:
        """New keys, pending, one of each kind."""
        made = [_generate(algorithm, rsa_bits) for algorithm in algorithms]
        with self._changing(domain) as keys:
            if len(keys) + len(made) > MAX_KEYS:
                raise KeyStoreError(f"{domain} has {len(keys)} keys: remove old ones first")
            taken = {one.selector for one in keys}
            new = []
            for algorithm, key in zip(algorithms, made, strict=True):
                kept = KeptKey(
                    domain=domain, selector=_selector(algorithm, now, taken), algorithm=algorithm, created_at=now
                )
                taken.add(kept.selector)
                self._write(self.path(kept), private_pem(key))
                new.append(kept)
            keys += new
        return new

    def activate(self, domain: str, selectors: Sequence[str], *, now: float) -> list[KeptKey]:
        """Let these keys sign; those of the same kind that signed until now are retired. Returns what was changed."""
        changed = []
        with self._changing(domain) as keys:
            new = [one for one in keys if one.selector in selectors and one.state is KeyState.PENDING]
            kinds = {one.algorithm for one in new}
            for place, one in enumerate(keys):
                if one in new:
                    keys[place] = replace(one, active_at=now)
                elif one.state is KeyState.ACTIVE and one.algorithm in kinds:
                    keys[place] = replace(one, retired_at=now)
                else:
                    continue
                changed.append(keys[place])
        return changed

    def remove(self, domain: str, selector: str) -> bool:
        """Remove a key for good; whether there was one."""
        with self._changing(domain) as keys:
            found = [one for one in keys if one.selector == selector]
            for one in found:
                keys.remove(one)
        for one in found:
            try:
                self.path(one).unlink(missing_ok=True)
            except OSError as error:
                raise KeyStoreError(f"{self.path(one)} cannot be removed: {error.strerror}") from None
        return bool(found)

    @contextmanager
    def _changing(self, domain: str) -> Iterator[list[KeptKey]]:
        """The keys of a domain, to be changed in place; kept at the end."""
        place = self._place(domain)
        try:
            for directory in (self.directory, place):
                if not directory.is_dir():
                    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                    self._give(directory)
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KeyStoreError(f"{place} cannot be made: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self.keys(domain)
            before = list(keys)
            yield keys
            if keys != before:
                text = json.dumps([_as_json(one) for one in keys], indent=1) + "\n"
                self._write(place / "keys.json", text.encode("ascii"))
        finally:
            os.close(lock)

    def _write(self, path: Path, content: bytes) -> None:
        beside = path.with_name(f".{path.name}.new")
        try:
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._give(beside)
            beside.replace(path)
        except OSError as error:
            raise KeyStoreError(f"{path} cannot be written: {error.strerror}") from None

    def _give(self, path: Path) -> None:
        """What root makes belongs to whoever the state directory belongs to: the server runs as that user."""
        if os.geteuid() == 0:
            owner = self.directory.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _place(self, domain: str) -> Path:
        try:
            is_canonical = to_a_labels(domain) == domain
        except AddressError:
            is_canonical = False
        if not is_canonical:
            raise KeyStoreError(f"{domain[:80]!r} is no domain name in lower case and A-labels")
        return self.directory / domain


def read_private_key(path: Path) -> PrivateKey:
    """The key of a PEM file. Raises KeyStoreError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_OCTETS)
    except OSError as error:
        raise KeyStoreError(f"the key {path} cannot be read: {error.strerror}") from None
    try:
        return load_private_key(content)
    except PrivateKeyError as error:
        raise KeyStoreError(f"the key {path} cannot be used: {error}") from None


def _generate(algorithm: Algorithm, rsa_bits: int) -> PrivateKey:
    if algorithm is Algorithm.ED25519:
        return Ed25519PrivateKey.generate()
    return generate_private_key(public_exponent=65_537, key_size=rsa_bits)


def _selector(algorithm: Algorithm, now: float, taken: set[str]) -> str:
    """The day and the kind: `r20260303`, and `r20260303-2` for a second one of that day."""
    base = f"{algorithm.value[0]}{datetime.fromtimestamp(now, UTC):%Y%m%d}"
    names = (base if number == 1 else f"{base}-{number}" for number in range(1, MAX_KEYS + 2))
    return next(name for name in names if name not in taken)


def _as_json(one: KeptKey) -> dict[str, object]:
    return {name: value for name, value in asdict(one).items() if name != "domain"}


def _kept(domain: str, one: dict[str, object]) -> KeptKey:
    selector = str(one["selector"])
    if _SELECTOR.fullmatch(selector) is None:
        raise ValueError(selector)
    return KeptKey(
        domain=domain,
        selector=selector,
        algorithm=Algorithm(str(one["algorithm"])),
        created_at=_time(one["created_at"]) or 0.0,
        active_at=_time(one.get("active_at")),
        retired_at=_time(one.get("retired_at")),
    )


def _time(value: object) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(value)
    return None if value is None else float(value)
