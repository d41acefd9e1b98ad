"""`postroad user`: accounts made, listed, changed and removed; the password never on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.calls import Done, call
from postroad.store.accounts import SqliteAccounts, verify_password


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "var"


def user(state: Path, *arguments: object, password: str = "") -> Done:
    options = ["--password-stdin"] if password else []
    return call("user", *arguments, *options, "--state", state, stdin=f"{password}\n")


def test_an_account_is_added_and_its_password_kept_only_as_hashes(state: Path) -> None:
    done = user(state, "add", "ann@example.org", password="a good one")
    assert done.status == 0
    assert done.out == "added ann@example.org, who may send as ann@example.org\n"
    accounts = SqliteAccounts(state / "accounts.db")
    account = accounts.get("ann@example.org")
    assert account is not None and verify_password(account.password_hash, "a good one")
    accounts.close()
    assert b"a good one" not in (state / "accounts.db").read_bytes()
    assert (state / "accounts.db").stat().st_mode & 0o077 == 0


def test_accounts_are_listed_with_identities_and_marks(state: Path) -> None:
    user(state, "add", "ann@example.org", "--admin", password="a good one")
    identities = ["--identity", "news@example.org", "--identity", "*@lists.example.org"]
    user(state, "add", "news", *identities, password="another")
    user(state, "disable", "news")
    assert user(state, "list").out.splitlines() == [
        "ann@example.org\tann@example.org\tadmin",
        "news\tnews@example.org, *@lists.example.org\tdisabled",
    ]


def test_password_identities_and_state_change(state: Path) -> None:
    user(state, "add", "ann@example.org", password="the first one")
    assert user(state, "password", "ann@example.org", password="the second").status == 0
    assert user(state, "identities", "ann@example.org", "*@example.org").out.endswith("may send as *@example.org\n")
    user(state, "disable", "ann@example.org")
    user(state, "disable", "ann@example.org", "--enable")
    accounts = SqliteAccounts(state / "accounts.db")
    account = accounts.get("ann@example.org")
    assert account is not None and verify_password(account.password_hash, "the second") and not account.is_disabled
    accounts.close()
    assert user(state, "remove", "ann@example.org").out == "removed ann@example.org\n"
    assert user(state, "list").out == ""


@pytest.mark.parametrize(
    ("arguments", "password", "words"),
    [
        (["add", "ann@example.org"], "again", "ann@example.org"),
        (["add", "plain"], "secret", "say with --identity which addresses"),
        (["add", "a\x1b@example.org"], "secret", "no spaces or control characters"),
        (["add", "bob@example.org", "--identity", "nonsense"], "secret", "nonsense"),
        (["password", "nobody@example.org"], "secret", "nobody@example.org"),
        (["remove", "nobody@example.org"], "", "there is no account 'nobody@example.org'"),
        (["disable", "nobody@example.org"], "", "nobody@example.org"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(state: Path, arguments: list[str], password: str, words: str) -> None:
    user(state, "add", "ann@example.org", password="a good one")
    done = user(state, *arguments, password=password)
    assert done.status == 1 and words in done.sentence


def test_an_empty_standard_input_is_no_password(state: Path) -> None:
    done = call("user", "add", "ann@example.org", "--password-stdin", "--state", state, stdin="")
    assert done.status == 1 and "standard input holds no password" in done.sentence
