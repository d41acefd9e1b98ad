"""`postroad alias`: aliases added and shown, and mistakes told where they are made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.calls import Done, call

SETTINGS = """
[server]
hostname = "mx.example.org"
state_dir = "{state}"
[domains]
local = ["example.org"]
mailboxes = "accounts"
[[domain]]
name = "shop.example"
mailboxes = "listed"
users = ["till"]
transport = "discard"
[[alias]]
address = "team@example.org"
to = ["ann", "out@far.example"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "postroad.toml"
    file.write_text(SETTINGS.format(state=tmp_path / "var"))
    call("user", "add", "ann@example.org", "--password-stdin", "--config", file, stdin="a good one\n")
    return file


def alias(config: Path, *arguments: object) -> Done:
    return call("alias", *arguments, "--config", config)


def test_an_alias_is_added_listed_shown_and_removed(config: Path) -> None:
    done = alias(config, "add", "Sales@example.org", "ann", "x@far.example", "--note", "the shop")
    assert (done.status, done.out, done.err) == (0, "sales@example.org → ann@example.org, x@far.example\n", "")
    assert alias(config, "list").out.splitlines() == [
        "team@example.org → ann@example.org, out@far.example  (in the file)",
        "sales@example.org → ann@example.org, x@far.example  (the shop)",
    ]
    assert json.loads(alias(config, "list", "--json").out.splitlines()[1]) == {
        "address": "sales@example.org",
        "to": ["ann@example.org", "x@far.example"],
        "note": "the shop",
        "file": False,
        "fault": "",
    }
    assert alias(config, "show", "SALES+tag@example.org").out.splitlines() == [
        "ann@example.org  maildir",
        "x@far.example  smtp",
    ]
    assert alias(config, "show", "till@shop.example").out == "till@shop.example  discard\n"
    assert alias(config, "remove", "sales@example.org").out == "removed sales@example.org\n"
    assert alias(config, "remove", "sales@example.org").status == 1


def test_an_alias_that_is_there_is_changed_on_purpose_only(config: Path) -> None:
    alias(config, "add", "a@example.org", "ann")
    assert "say --replace" in alias(config, "add", "a@example.org", "postmaster").sentence
    assert alias(config, "add", "a@example.org", "postmaster", "--replace").status == 0
    assert "change it there" in alias(config, "add", "team@example.org", "ann").sentence


def test_mistakes_are_told_when_an_alias_is_added(config: Path) -> None:
    done = alias(config, "add", "a@example.org", "nobody")
    assert done.status == 0
    assert "refused: This address is an alias that leads nowhere (nobody@example.org)" in done.err
    alias(config, "add", "b@example.org", "c")
    assert "leads in a circle" in alias(config, "add", "c@example.org", "b").err
    assert "no local domain" in alias(config, "add", "a@far.example", "ann@example.org").err
    assert "no address" in alias(config, "add", "sales", "ann").sentence
    assert "5.1.1" in alias(config, "show", "nobody@example.org").sentence


def test_config_check_tells_of_aliases_that_the_accounts_do_not_bear_out(config: Path) -> None:
    assert call("config", "check", config).err == ""
    alias(config, "add", "sales@example.org", "ann", "postmaster")
    removed = call("user", "remove", "ann@example.org", "--config", config)
    assert removed.status == 0
    assert removed.err.splitlines() == [
        "postroad: team@example.org leads to ann@example.org, which does not exist",
        "postroad: sales@example.org leads to ann@example.org, which does not exist",
    ]
    done = call("config", "check", config)
    assert done.status == 0
    assert done.err.splitlines() == [
        "doubt: team@example.org leads to ann@example.org, which does not exist",
        "doubt: sales@example.org leads to ann@example.org, which does not exist",
    ]


def test_an_account_whose_mail_an_alias_takes_is_told(config: Path) -> None:
    done = call("user", "add", "team@example.org", "--password-stdin", "--config", config, stdin="a good one\n")
    assert done.status == 0
    assert "mail to team@example.org goes to ann@example.org, out@far.example, as its alias says" in done.err
