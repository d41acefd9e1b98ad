"""Keys kept elsewhere: each whole, each at one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import Config, load

WHOLE = "[[dkim_key]]\ndomain = 'a.test'\nselector = 's1'\nfile = 'a.pem'\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[dkim_key]]\ndomain = 'a.test'", "1: [[dkim_key]] needs a domain, a selector and a file"),
        (WHOLE.replace("a.test", "a..test"), '2: [[dkim_key]] domain: "a..test" is no domain name'),
        (WHOLE.replace("s1", "s 1"), '3: [[dkim_key]] selector: "s 1" is no selector'),
        (WHOLE + WHOLE.replace("a.test", "A.test"), '7: [[dkim_key]] selector: "s1" of A.test is listed twice'),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "postroad.toml"
    file.write_text(text)
    loaded = load(file, {})
    assert not isinstance(loaded, Config)
    assert [str(mistake).removeprefix(f"{file}:") for mistake in loaded] == [sentence]


def test_keys_of_one_domain_have_selectors_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "postroad.toml"
    file.write_text(WHOLE + WHOLE.replace("s1", "s2"))
    loaded = load(file, {})
    assert isinstance(loaded, Config)
    assert [one.selector for one in loaded.dkim_key] == ["s1", "s2"]
