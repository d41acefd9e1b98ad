"""Mistakes in hooks, returns, the web listener and tokens are told where they are, and how to mend them."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import load


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[plugin]]\noptions = ["x"]\n', 'options: "x" is not key=value'),
        ("[[plugin]]\n", "write module:Class"),
        ('[[milter]]\naddress = "nowhere"\n', "write HOST:PORT, or unix:/path/of/socket"),
        ('[[rspamd]]\nurl = "ftp://x"\n', "write http://HOST:PORT"),
        ('[[rspamd]]\nurl = "http://127.0.0.1:1"\nlisteners = ["smtp"]\n', "is not one of mx, submission, submissions"),
        ('[returns]\ndomain = "no domain"\n', "is no domain name"),
        ('[domains]\nlocal = ["a.example"]\n[returns]\ndomain = "A.example"\n', "take one for bounces alone"),
        ('[unsubscribe]\nurl = "mail.example.org"\n', "write https://"),
        ('[unsubscribe]\nurl = "https://x.example"\n[http]\nenabled = false\n', "set [http] enabled = true"),
        ('[http]\naddress = "localhost"\n', "write an IP address"),
        ('[http]\noperators = ["everybody"]\n', "is no network"),
        ('[oauth]\nurl = "http://login.example.org/"\n', "write an https address"),
    ],
)
def test_each_mistake_is_one_sentence_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "postroad.toml"
    file.write_text(text)
    mistakes = load(file, {})
    assert isinstance(mistakes, list)
    assert any(told in str(mistake) and f"{file}:" in str(mistake) for mistake in mistakes), list(map(str, mistakes))
