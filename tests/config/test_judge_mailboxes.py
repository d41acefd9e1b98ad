"""Mistakes in local domains, aliases and transports: one sentence each, at the right line."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.test_judge import said

DOMAIN = "[[domain]]\nname = 'us.test'\nmailboxes = 'listed'\nusers = ['ann', 'ben']\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[domain]]\nname = 'a b'", '2: [[domain]] name: "a b" is no domain name'),
        (
            "[[domain]]\nname = 'a.test'\n[[domain]]\nname = 'A.test'",
            '4: [[domain]] name: "A.test" is there twice',
        ),
        (
            "[[domain]]\nname = 'a.test'\ntransport = 'dovecot'",
            '3: [[domain]] transport: "dovecot" is not one of discard, maildir, route',
        ),
        (
            "[[domain]]\nname = 'a.test'\ntransport = 'route'",
            '3: [[domain]] transport: there is no [[route]] for "a.test"',
        ),
        (
            "[[domain]]\nname = 'a.test'\nseparator = '+-'",
            '3: [[domain]] separator: write one character, none, or "inherit"',
        ),
        (
            "[[domain]]\nname = 'a.test'\nusers = ['x@b.test']",
            '3: [[domain]] users: "x@b.test" is no local part of an address',
        ),
        ("[[domain]]\nname = 'a.test'\ncatch_all = ['x y']", '3: [[domain]] catch_all: "x y" is no address'),
        (
            "[[domain]]\nname = 'a.test'\nsame_as = 'b.test'",
            '3: [[domain]] same_as: "b.test" is no other local domain with mailboxes of its own',
        ),
        (
            "[[mailbox]]\naddress = 'x@far.test'",
            '2: [[mailbox]] address: "x@far.test" is no address at a local domain',
        ),
        (
            DOMAIN + "[[mailbox]]\naddress = 'ann@us.test'\ntransport = 'route'",
            '7: [[mailbox]] transport: "route" is not one of discard, maildir',
        ),
        (
            "[[alias]]\naddress = 'x@far.test'\nto = ['a']",
            '2: [[alias]] address: "x@far.test" is no address at a local domain',
        ),
        (DOMAIN + "[[alias]]\naddress = 'x@us.test'", '5: [[alias]] "x@us.test" goes nowhere: give it a "to"'),
        (DOMAIN + "[[alias]]\naddress = 'x@us.test'\nto = ['a b']", '7: [[alias]] to: "a b" is no address'),
        (
            DOMAIN + "[[alias]]\naddress = 'x@us.test'\nto = ['carl']",
            "7: [[alias]] x@us.test leads to carl@us.test, which does not exist",
        ),
        (
            DOMAIN + "[[alias]]\naddress = 'x@us.test'\nto = ['y']\n[[alias]]\naddress = 'y@us.test'\nto = ['x', 'X']",
            "7: [[alias]] x@us.test leads in a circle: x@us.test → y@us.test → x@us.test",
        ),
        (
            "[srs]\ndomain = 'far.test'",
            '2: [srs] domain: "far.test" is no local domain, so bounces would not come back to it',
        ),
        ("[[lmtp]]\naddress = 'dovecot'", "2: [[lmtp]] address: write HOST:PORT, or unix:/path/of/socket"),
        (
            "[[lmtp]]\nname = 'maildir'\naddress = 'unix:/run/x'",
            '2: [[lmtp]] name: "maildir" is taken: each transport has a name of its own',
        ),
        ("[[webhook]]\nurl = 'ftp://x.test/'", "2: [[webhook]] url: write https://HOST/PATH, without a user's name"),
        (
            "[[webhook]]\nurl = 'https://a:b@x.test/'",
            "2: [[webhook]] url: write https://HOST/PATH, without a user's name",
        ),
        ("[[command]]\nargv = ['cat']", "2: [[command]] argv: begin with the whole path of the program"),
    ],
)
def test_each_mistake_is_one_sentence_at_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    assert f"postroad.toml:{sentence}" in said(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        DOMAIN + "[[alias]]\naddress = 'x@us.test'\nto = ['ann+tag', 'me@far.test']",
        DOMAIN + "[[alias]]\naddress = 'ann@us.test'\nto = ['ann', 'ann@far.test']",
        DOMAIN + "[[alias]]\naddress = 'x@us.test'\nto = ['postmaster']",
        DOMAIN + "[[mailbox]]\naddress = 'carl@us.test'\n[[alias]]\naddress = 'x@us.test'\nto = ['carl']",
        DOMAIN + "catch_all = ['ann']\n[[alias]]\naddress = 'x@us.test'\nto = ['whoever']",
        DOMAIN + "[[domain]]\nname = 'also.test'\nsame_as = 'us.test'\n[srs]\ndomain = 'us.test'",
        "[[domain]]\nname = 'a.test'\ntransport = 'store'\n[[lmtp]]\nname = 'store'\naddress = 'unix:/run/lmtp'",
        "[[webhook]]\nurl = 'https://x.test/hook'\n[[command]]\nargv = ['/bin/cat', '-']",
    ],
)
def test_what_is_right_is_taken(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text) == []
