"""Settings of the door that cannot be: one sentence each, at the right line."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.test_judge import said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[door]\nexempt = ['10.0.0.0/8', 'office']",
            '2: [door] exempt: "office" is neither an address nor a network',
        ),
        ("[greylist]\nknown_hosts = ['a b']", '2: [greylist] known_hosts: "a b" is no domain name'),
        ("[greylist]\nknown_senders = ['a..b']", '2: [greylist] known_senders: "a..b" is no domain name'),
        ("[[block_list]]\nweight = 2.0", "1: [[block_list]] needs a zone"),
        ("[[block_list]]\nzone = 'a b'", '2: [[block_list]] zone: "a b" is no domain name'),
        (
            "[[block_list]]\nzone = 'list.test'\nanswers = ['127.0.0.2', '10.0.0.1']",
            '3: [[block_list]] answers: "10.0.0.1" is no address or network in 127.0.0.0/8, where lists answer',
        ),
        (
            "[call_forward]\ndomains = ['a.test']",
            '2: [call_forward] domains: "a.test" has no [[route]], so there is no next host to ask',
        ),
    ],
)
def test_a_mistake_of_the_door_is_told_at_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    assert said(tmp_path, text) == [f"postroad.toml:{sentence}"]


def test_what_the_guide_shows_is_a_configuration(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "abuse.md").read_text(encoding="utf-8")
    parts = guide.split("```toml\n")[1:]
    assert parts
    for part in parts:
        assert said(tmp_path, part.partition("```")[0]) == []
