"""Keys in files: made, used, retired, and read by nobody else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from postroad.message.dkim_key import Algorithm, algorithm_of
from postroad.store import dkim_keys
from postroad.store.dkim_keys import DkimKeys, KeyState, KeyStoreError, read_private_key

BOTH = (Algorithm.RSA, Algorithm.ED25519)
NOW = 1_772_500_000.0  # 2026-03-03
DOMAIN = "example.org"


@pytest.fixture
def keys(tmp_path: Path) -> DkimKeys:
    return DkimKeys(tmp_path / "var" / "dkim")


def test_without_a_directory_there_are_no_keys(keys: DkimKeys) -> None:
    assert keys.domains() == [] and keys.keys(DOMAIN) == [] and keys.stamp() == ()
    assert not keys.directory.exists()


def test_keys_are_made_pending_named_by_kind_and_day_and_are_for_their_owner_alone(keys: DkimKeys) -> None:
    made = keys.make(DOMAIN, BOTH, now=NOW)
    assert [(one.selector, one.state) for one in made] == [
        ("r20260303", KeyState.PENDING),
        ("e20260303", KeyState.PENDING),
    ]
    assert keys.keys(DOMAIN) == made and keys.domains() == [DOMAIN]
    for one in made:
        assert algorithm_of(keys.private(one)) is one.algorithm
        assert stat.S_IMODE(keys.path(one).stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.path(made[0]).parent.stat().st_mode) == 0o700


def test_a_second_pair_of_a_day_has_names_of_its_own(keys: DkimKeys) -> None:
    keys.make(DOMAIN, BOTH, now=NOW)
    assert [one.selector for one in keys.make(DOMAIN, BOTH, now=NOW)] == ["r20260303-2", "e20260303-2"]


def test_activating_retires_what_signed_before_of_the_same_kind_alone(keys: DkimKeys) -> None:
    first = keys.make(DOMAIN, BOTH, now=NOW)
    keys.activate(DOMAIN, [one.selector for one in first], now=NOW + 1)
    (new,) = keys.make(DOMAIN, [Algorithm.ED25519], now=NOW + 2)
    stamp = keys.stamp()
    changed = keys.activate(DOMAIN, [new.selector], now=NOW + 3)
    assert {one.selector: one.state for one in changed} == {
        "e20260303": KeyState.RETIRED,
        "e20260303-2": KeyState.ACTIVE,
    }
    assert [one.state for one in keys.keys(DOMAIN)] == [KeyState.ACTIVE, KeyState.RETIRED, KeyState.ACTIVE]
    assert keys.stamp() != stamp
    assert keys.activate(DOMAIN, [new.selector, "unknown"], now=NOW + 4) == []


def test_a_removed_key_is_gone_with_its_file(keys: DkimKeys) -> None:
    one, other = keys.make(DOMAIN, BOTH, now=NOW)
    assert keys.remove(DOMAIN, one.selector) and not keys.remove(DOMAIN, one.selector)
    assert keys.keys(DOMAIN) == [other] and not keys.path(one).exists()


@pytest.mark.parametrize("name", ["../etc", "a/b", "Example.org", "", "a..b", "bücher.example"])
def test_a_name_that_is_no_domain_reaches_no_file(keys: DkimKeys, name: str) -> None:
    with pytest.raises(KeyStoreError, match="is no domain name"):
        keys.keys(name)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}x",
        "[{}]",
        '[{"selector": "../../x", "algorithm": "rsa", "created_at": 1}]',
        '[{"selector": "a", "algorithm": "rsa", "created_at": "x"}]',
        "[" * 5000,
    ],
)
def test_a_damaged_list_is_one_sentence(keys: DkimKeys, content: str) -> None:
    keys.make(DOMAIN, BOTH, now=NOW)
    (keys.directory / DOMAIN / "keys.json").write_text(content)
    with pytest.raises(KeyStoreError, match=r"keys\.json is damaged: put it back from a backup, or make new keys"):
        keys.keys(DOMAIN)


def test_a_key_that_cannot_be_used_is_one_sentence(keys: DkimKeys, tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match=r"none\.pem cannot be read: No such file"):
        read_private_key(tmp_path / "none.pem")
    (tmp_path / "bad.pem").write_text("nothing")
    with pytest.raises(KeyStoreError, match=r"bad\.pem cannot be used: it is no private key"):
        read_private_key(tmp_path / "bad.pem")


def test_a_domain_has_a_bounded_number_of_keys(keys: DkimKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dkim_keys, "MAX_KEYS", 3)
    keys.make(DOMAIN, BOTH, now=NOW)
    with pytest.raises(KeyStoreError, match="has 2 keys: remove old ones first"):
        keys.make(DOMAIN, BOTH, now=NOW)
    assert len(keys.keys(DOMAIN)) == 2
