"""Who may log in: names, password hashes, SCRAM keys, and the addresses each may send as.

`Accounts` is the port, `SqliteAccounts` keeps them in accounts.db (mode 0600), `MemoryAccounts` for tests and the
library. Calls are synchronous: `get` answers from memory and only looks whether the file has changed since, which
costs microseconds, so it may be called in the event loop; the changing verbs make keys (PBKDF2) and sync, so they
belong in a thread or the command line. `hash_password` and `verify_password` are pure computing of about 30 ms and
20 MiB: call them in a thread, a few at a time.

Never keeps a password, never says whether a name or the password was wrong. Names match whatever their case.
Used by receive (log-in, sender rights), the web pages and `postroad user`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import argon2

from postroad.smtp.address import Address
from postroad.smtp.sasl import ScramKeys, make_scram_keys
from postroad.store.spool import SpoolError
from postroad.store.sqlite import DatabaseSettings, explain, open_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SCRAM_ITERATIONS = 4096
SALT_BYTES = 16
MAX_NAME_CHARS = 256
MAX_PASSWORD_CHARS = 1024
MAX_IDENTITIES = 1000
_SCHEMA = "accounts"
_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class AccountError(Exception):
    """A name, password or identity that cannot be, an account that is there already or is not; says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user. `name` is in its canonical form (`normalise_name`)."""

    name: str
    password_hash: str = field(repr=False)
    """argon2id, in its usual text form."""
    scram: ScramKeys | None = field(default=None, repr=False)
    """None: this account cannot use SCRAM."""
    identities: tuple[str, ...] = ()
    """Patterns of addresses it may send as: `user@example.org`, `*@example.org`, `*`."""
    is_admin: bool = False
    is_disabled: bool = False


class Accounts(Protocol):
    """The port. Names are taken in any case; raises AccountError, or SpoolError where the store fails."""

    def get(self, name: str) -> Account | None:
        """The account of that name, also a disabled one."""
        ...

    def add(self, name: str, password: str, *, identities: Iterable[str] = (), is_admin: bool = False) -> Account:
        """Make an account; one that exists is not changed (AccountError)."""
        ...

    def set_password(self, name: str, password: str) -> Account:
        """Give it another password."""
        ...

    def update(
        self,
        name: str,
        *,
        identities: Iterable[str] | None = None,
        is_admin: bool | None = None,
        is_disabled: bool | None = None,
    ) -> Account:
        """Change what is given, leave the rest."""
        ...

    def remove(self, name: str) -> bool:
        """Whether there was one."""
        ...

    def all(self) -> tuple[Account, ...]:
        """By name."""
        ...

    def close(self) -> None: ...


def normalise_name(name: str) -> str:
    """The form under which a name is kept and looked up: NFC, case folded. AccountError where it can be none."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())
    if not text or len(text) > MAX_NAME_CHARS:
        raise AccountError(f"an account name has 1 to {MAX_NAME_CHARS} characters")
    if any(unicodedata.category(character)[0] == "C" or character.isspace() for character in text):
        raise AccountError("an account name has no spaces or control characters in it")
    return text


def normalise_identity(pattern: str) -> str:
    """The canonical form of an identity pattern; AccountError where it is none."""
    text = pattern.strip()
    if text == "*":
        return text
    local, at, domain = text.rpartition("@")
    try:
        address = Address.parse(f"x@{domain}" if local == "*" else text, smtputf8=True)
    except ValueError as error:
        raise AccountError(f"{text!r} is no identity (user@example.org, *@example.org or *): {error}") from None
    return f"*@{address.domain}" if at and local == "*" else str(address)


def may_send_as(account: Account, address: Address) -> bool:
    """Whether the account may use that address as its own (RFC 6409 §6.1). A disabled account may send as nobody.

    Local parts are compared whatever their case: the operator lists them, so that two mailboxes of one
    domain that differ by case alone can only be given away on purpose."""
    if account.is_disabled:
        return False
    for pattern in account.identities:
        if pattern == "*":
            return True
        local, _, domain = pattern.rpartition("@")
        if domain.lower() != address.domain:
            continue
        if local == "*" or local.casefold() in (address.local.casefold(), str(address).rpartition("@")[0].casefold()):
            return True
    return False


def hash_password(password: str) -> str:
    """argon2id, 19 MiB, two passes. Raises AccountError where the password cannot be one."""
    if not password or len(password) > MAX_PASSWORD_CHARS:
        raise AccountError(f"a password has 1 to {MAX_PASSWORD_CHARS} characters")
    try:
        return _HASHER.hash(password)
    except UnicodeEncodeError:
        raise AccountError("a password is text that can be written in UTF-8") from None


def verify_password(password_hash: str, password: str) -> bool:
    """Whether it is that password; never raises. An over-long one is wrong without being computed."""
    if len(password) > MAX_PASSWORD_CHARS:
        return False
    try:
        return _HASHER.verify(password_hash, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeEncodeError):
        return False


def _made(name: str, password: str, identities: Iterable[str], is_admin: bool, salt: bytes) -> Account:
    return _with_password(
        Account(name=normalise_name(name), password_hash="", identities=_identities(identities), is_admin=is_admin),
        password,
        salt,
    )


def _with_password(account: Account, password: str, salt: bytes) -> Account:
    password_hash = hash_password(password)
    try:
        scram = make_scram_keys(password, salt, SCRAM_ITERATIONS)
    except ValueError:  # SASLprep refuses some passwords that PLAIN can carry
        scram = None
    return replace(account, password_hash=password_hash, scram=scram)


def _identities(patterns: Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(normalise_identity(pattern) for pattern in patterns))
    if len(found) > MAX_IDENTITIES:
        raise AccountError(f"an account has at most {MAX_IDENTITIES} identities: use *@example.org")
    return found


def _updated(
    account: Account, identities: Iterable[str] | None, is_admin: bool | None, is_disabled: bool | None
) -> Account:
    return replace(
        account,
        identities=account.identities if identities is None else _identities(identities),
        is_admin=account.is_admin if is_admin is None else is_admin,
        is_disabled=account.is_disabled if is_disabled is None else is_disabled,
    )


class MemoryAccounts:
    """Accounts that are gone with the process: for tests and the library."""

    def __init__(self, accounts: Iterable[Account] = (), *, token: Callable[[int], bytes] = os.urandom) -> None:
        self._accounts = {account.name: account for account in accounts}
        self._token = token

    def get(self, name: str) -> Account | None:
        try:
            return self._accounts.get(normalise_name(name))
        except AccountError:
            return None

    def add(self, name: str, password: str, *, identities: Iterable[str] = (), is_admin: bool = False) -> Account:
        account = _made(name, password, identities, is_admin, self._token(SALT_BYTES))
        if account.name in self._accounts:
            raise _exists(account.name)
        self._accounts[account.name] = account
        return account

    def set_password(self, name: str, password: str) -> Account:
        account = _with_password(_present(self.get(name), name), password, self._token(SALT_BYTES))
        self._accounts[account.name] = account
        return account

    def update(
        self,
        name: str,
        *,
        identities: Iterable[str] | None = None,
        is_admin: bool | None = None,
        is_disabled: bool | None = None,
    ) -> Account:
        account = _updated(_present(self.get(name), name), identities, is_admin, is_disabled)
        self._accounts[account.name] = account
        return account

    def remove(self, name: str) -> bool:
        account = self.get(name)
        return account is not None and self._accounts.pop(account.name, None) is not None

    def all(self) -> tuple[Account, ...]:
        return tuple(self._accounts[name] for name in sorted(self._accounts))

    def close(self) -> None:
        self._accounts.clear()


class SqliteAccounts:
    """Accounts in a file that several processes use at once. Usable from any thread."""

    def __init__(self, path: Path, *, token: Callable[[int], bytes] = os.urandom, cache_size: int = 10_000) -> None:
        """Open the file, making it where there is none. `token` gives that many secret random bytes.

        Raises SpoolError where that cannot be."""
        self.path = path
        self._token = token
        self._cache_size = cache_size
        self._cache: dict[str, Account | None] = {}
        self._lock = threading.Lock()
        self._connection = open_database(path, _SCHEMA, DatabaseSettings(cache_kib=1024, checkpoint_pages=100))
        self._version = -1

    def get(self, name: str) -> Account | None:
        try:
            key = normalise_name(name)
        except AccountError:
            return None
        with self._lock:
            try:
                version = self._connection.execute("PRAGMA data_version").fetchone()[0]
                if version != self._version:
                    self._cache.clear()
                    self._version = version
                if key not in self._cache:
                    if len(self._cache) >= self._cache_size:
                        self._cache.clear()
                    row = self._connection.execute("SELECT * FROM account WHERE name = ?", (key,)).fetchone()
                    self._cache[key] = None if row is None else _account_from(row)
                return self._cache[key]
            except sqlite3.Error as error:
                raise explain(error, self.path) from error

    def add(self, name: str, password: str, *, identities: Iterable[str] = (), is_admin: bool = False) -> Account:
        account = _made(name, password, identities, is_admin, self._token(SALT_BYTES))
        if not self._write("INSERT OR IGNORE INTO account VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _row(account)):
            raise _exists(account.name)
        return account

    def set_password(self, name: str, password: str) -> Account:
        account = _with_password(_present(self.get(name), name), password, self._token(SALT_BYTES))
        written = self._write(
            "UPDATE account SET password_hash = ?, scram_salt = ?, scram_iterations = ?, scram_stored_key = ?,"
            " scram_server_key = ? WHERE name = ?",
            (*_row(account)[1:6], account.name),
        )
        return _present(account if written else None, name)

    def update(
        self,
        name: str,
        *,
        identities: Iterable[str] | None = None,
        is_admin: bool | None = None,
        is_disabled: bool | None = None,
    ) -> Account:
        account = _updated(_present(self.get(name), name), identities, is_admin, is_disabled)
        written = self._write(
            "UPDATE account SET identities = ?, is_admin = ?, is_disabled = ? WHERE name = ?",
            (*_row(account)[6:], account.name),
        )
        return _present(account if written else None, name)

    def remove(self, name: str) -> bool:
        try:
            return self._write("DELETE FROM account WHERE name = ?", (normalise_name(name),)) > 0
        except AccountError:
            return False

    def all(self) -> tuple[Account, ...]:
        with self._lock:
            try:
                rows = self._connection.execute("SELECT * FROM account ORDER BY name").fetchall()
            except sqlite3.Error as error:
                raise explain(error, self.path) from error
        return tuple(_account_from(row) for row in rows)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _write(self, statement: str, parameters: tuple[object, ...]) -> int:
        """How many accounts it changed."""
        with self._lock:
            try:
                self._cache.clear()
                return self._connection.execute(statement, parameters).rowcount
            except sqlite3.Error as error:
                raise explain(error, self.path) from error


def _row(account: Account) -> tuple[object, ...]:
    scram = account.scram
    return (
        account.name,
        account.password_hash,
        *((None,) * 4 if scram is None else (scram.salt, scram.iterations, scram.stored_key, scram.server_key)),
        json.dumps(account.identities),
        account.is_admin,
        account.is_disabled,
    )


def _account_from(row: tuple[object, ...]) -> Account:
    name, password_hash, salt, iterations, stored_key, server_key, identities, is_admin, is_disabled = row
    try:
        scram = None
        if salt is not None:
            assert isinstance(salt, bytes) and isinstance(iterations, int)
            assert isinstance(stored_key, bytes) and isinstance(server_key, bytes)
            scram = ScramKeys(salt=salt, iterations=iterations, stored_key=stored_key, server_key=server_key)
        return Account(
            name=str(name),
            password_hash=str(password_hash),
            scram=scram,
            identities=tuple(map(str, json.loads(str(identities)))),
            is_admin=bool(is_admin),
            is_disabled=bool(is_disabled),
        )
    except (AssertionError, ValueError, TypeError) as error:
        raise SpoolError(f"the record of account {name!r} is damaged: remove it and add it again") from error


def _exists(name: str) -> AccountError:
    return AccountError(f"there is an account {name!r} already: change it, or take another name")


def _present(account: Account | None, name: str) -> Account:
    if account is None:
        raise AccountError(f"there is no account {name!r}: add it first")
    return account
