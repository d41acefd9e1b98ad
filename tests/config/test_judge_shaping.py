"""Sites and sources: each named once, and nothing that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import Config, load


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[[site]]\nconnections = 2",
            '1: [[site]] needs a key, such as "gmail" or "example.org"; `postroad site` lists them',
        ),
        ("[[site]]\nkey = 'gmail'\n[[site]]\nkey = 'GMail'", '4: [[site]] key: "GMail" is listed twice'),
        ("[[source]]\nname = 'a'", "1: [[source]] needs an address, an address6, or both"),
        (
            "[[source]]\nname = 'a'\naddress = '2001:db8::1'",
            '3: [[source]] address: "2001:db8::1" is no IPv4 address',
        ),
        (
            "[[source]]\nname = 'a'\naddress = '192.0.2.1'\nwarm_up_start = 'soon'",
            "4: [[source]] warm_up_start: write a day such as 2030-01-31",
        ),
        (
            "[[pool]]\nname = 'p'\nsources = ['a']",
            '3: [[pool]] sources: there is no [[source]] named "a"',
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "postroad.toml"
    file.write_text(text)
    loaded = load(file, {})
    assert not isinstance(loaded, Config)
    assert [str(mistake).removeprefix(f"{file}:") for mistake in loaded] == [sentence]
