"""Accounts: names, passwords and sender rights; both implementations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from postroad.smtp.address import Address
from postroad.smtp.sasl import make_scram_keys
from postroad.store.accounts import (
    Account,
    AccountError,
    Accounts,
    MemoryAccounts,
    SqliteAccounts,
    hash_password,
    may_send_as,
    normalise_identity,
    normalise_name,
    verify_password,
)
from postroad.store.spool import SpoolError


@pytest.fixture(params=["memory", "sqlite"])
def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Accounts]:
    def token(size: int) -> bytes:
        return b"\x07" * size

    made: Accounts = (
        MemoryAccounts(token=token) if request.param == "memory" else SqliteAccounts(tmp_path / "a.db", token=token)
    )
    yield made
    made.close()


def test_an_account_lives_its_life(accounts: Accounts) -> None:
    added = accounts.add("Ann", "secret", identities=["Ann@Example.ORG", "*@b.example"], is_admin=True)
    assert added == accounts.get("ANN") == accounts.get(" ann ")
    assert (added.name, added.identities, added.is_admin) == ("ann", ("Ann@example.org", "*@b.example"), True)
    assert verify_password(added.password_hash, "secret")
    assert added.scram == make_scram_keys("secret", b"\x07" * 16, 4096)
    assert "secret" not in repr(added)
    assert added.password_hash not in repr(added)
    with pytest.raises(AccountError, match="already"):
        accounts.add("aNN", "other")
    changed = accounts.set_password("ann", "new")
    assert not verify_password(changed.password_hash, "secret")
    assert accounts.get("ann") == changed
    assert accounts.update("ann", is_disabled=True, identities=()) == accounts.get("ann")
    account = accounts.get("ann")
    assert account is not None
    assert (account.is_disabled, account.is_admin, account.identities) == (True, True, ())
    accounts.add("aaron", "x")
    assert [one.name for one in accounts.all()] == ["aaron", "ann"]
    assert accounts.remove("ANN")
    assert not accounts.remove("ann")
    assert accounts.get("ann") is None


def test_what_is_missing_or_impossible_is_said(accounts: Accounts) -> None:
    with pytest.raises(AccountError, match="no account"):
        accounts.set_password("nobody", "x")
    with pytest.raises(AccountError, match="no account"):
        accounts.update("nobody", is_admin=True)
    for name in ("", "a b", "a\x00b", "x" * 300):
        assert accounts.get(name) is None
        assert not accounts.remove(name)
        with pytest.raises(AccountError):
            accounts.add(name, "x")
    with pytest.raises(AccountError, match="password"):
        accounts.add("ann", "")
    with pytest.raises(AccountError, match="identity"):
        accounts.add("ann", "x", identities=["no address"])
    with pytest.raises(AccountError, match="at most"):
        accounts.add("ann", "x", identities=[f"a{n}@b.org" for n in range(1001)])
    assert accounts.all() == ()


def test_names_and_identities_have_one_form() -> None:
    assert normalise_name("JÖRG") == normalise_name("jo\u0308rg") == "jörg"
    assert normalise_identity(" * ") == "*"
    assert normalise_identity("*@BÜCHER.example") == "*@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("identities", "address", "may"),
    [
        (["ann@example.org"], Address("ann", "example.org"), True),
        (["ann@example.org"], Address("ANN", "example.org"), True),
        (["ann@example.org"], Address("bob", "example.org"), False),
        (["ann@example.org"], Address("ann", "sub.example.org"), False),
        (["*@example.org"], Address("bob", "example.org"), True),
        (["*@example.org"], Address("x@example.org", "evil.example"), False),
        (['"a b"@example.org'], Address("a b", "example.org"), True),
        (["*"], Address("anyone", "anywhere.example"), True),
        ([], Address("ann", "example.org"), False),
        (["*@example.org"], Address("postmaster", ""), False),
    ],
)
def test_s28_sender_rights(identities: list[str], address: Address, may: bool) -> None:
    account = Account(name="ann", password_hash="", identities=tuple(map(normalise_identity, identities)))
    assert may_send_as(account, address) is may
    assert not may_send_as(
        Account(name="ann", password_hash="", identities=account.identities, is_disabled=True), address
    )


def test_wrong_and_odd_passwords_are_false_never_an_error() -> None:
    stored = hash_password("pässword")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password(stored, "pässword")
    for wrong in ("password", "", "x" * 5000, "\udcff"):
        assert not verify_password(stored, wrong)
    assert not verify_password("no hash", "x")
    with pytest.raises(AccountError):
        hash_password("\udcff")


def test_a_password_scram_refuses_still_works_for_plain() -> None:
    account = MemoryAccounts().add("ann", "bell\x07")
    assert account.scram is None
    assert verify_password(account.password_hash, "bell\x07")


def test_another_processs_change_is_seen_at_once(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    one, two = SqliteAccounts(path), SqliteAccounts(path, cache_size=2)
    assert two.get("ann") is None
    one.add("ann", "x")
    assert two.get("ann") == one.get("ann") is not None
    one.remove("ann")
    assert two.get("ann") is None
    for name in ("a", "b", "c"):
        assert two.get(name) is None
    one.close()
    two.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    accounts = SqliteAccounts(path)
    accounts.add("ann", "x")
    accounts.add("bob", "x")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE account SET identities = '{' WHERE name = 'ann'")
    with pytest.raises(SpoolError, match="ann"):
        accounts.get("ann")
    assert accounts.get("bob") is not None
    accounts.close()
