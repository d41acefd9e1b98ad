"""The phrases of rules: what their signs mean, what text they see, and that the short cuts change nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.meaning.phrase import Phrases, folded, words
from postroad.meaning.rule import passing_words, rules


def found(phrase: str, text: str) -> bool:
    return Phrases.compiled([phrase]).found_in(words(text))


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("user unknown", "<a@example.org>: User unknown"),
        ("user unknown", "user <a@example.org> unknown"),
        ("user unknown", "USER-UNKNOWN"),
        ("(no|not a) (valid |)user", "this is not a valid user"),
        ("(no|not a) (valid |)user", "no user"),
        ("mailbox..full", "mailbox of someone is full"),
        ("gr(e|a)ylist*", "Graylisting in action"),
        ("exceeded # hops", "exceeded 50 hops"),
        ("% (is |)blocked", "[192.0.2.1] blocked"),
        ("% (is |)blocked", "2001:db8:0:0:0:0:0:1 is blocked"),
        ("empfänger", "EMPFANGER"),
        ("boite..pleine", "La boîte est pleine"),
        ("用户..不存在", "该用户的邮箱不存在"),
        ("получатель", "Получатель"),
        ("black(-| |)list*", "blacklisted"),
        ("black(-| |)list*", "black-list"),
    ],
)
def test_a_phrase_is_found(phrase: str, text: str) -> None:
    assert found(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("user unknown", "superuser unknown"),
        ("user unknown", "user unknowns"),
        ("mailbox..full", "mailboxfull"),
        ("mailbox..full", "The mailbox is here. It is full"),
        ("mailbox..full", "mailbox" + " x" * 60 + " full"),
        ("spam", "<spam@example.org> unknown"),
        ("spam", "see https://spam.example/spam"),
        ("exceeded # hops", "exceeded many hops"),
    ],
)
def test_a_phrase_is_not_found(phrase: str, text: str) -> None:
    assert not found(phrase, text)


@pytest.mark.parametrize("phrase", ["", " user", "user ", "(user", "user)", "a..b..c..d", "a**"])
def test_a_phrase_that_is_none_is_refused(phrase: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(phrase))):
        Phrases.compiled([phrase])


def test_prefixes_of_continued_lines_are_no_words() -> None:
    assert "550" not in words("550-5.1.1 no such 550-5.1.1 user").text


@given(st.text(max_size=300))
def test_folding_is_final(text: str) -> None:
    assert folded(folded(text)) == folded(text)


_ALL = [phrases for rule in rules() for phrases in (rule.text, rule.unless) if phrases is not None] + [passing_words()]
_SAID = [example.split(" ", 2)[2] for rule in rules() for example in rule.examples]


@given(st.lists(st.sampled_from(" ".join(_SAID).split()), max_size=25))
def test_looking_only_where_the_first_word_stands_finds_what_looking_everywhere_finds(said: list[str]) -> None:
    text = words(" ".join(said))
    for phrases in _ALL:
        everywhere = {pattern for rows in phrases.by_head.values() for _, pattern in rows}
        everywhere |= {pattern for _, pattern in phrases.headless}
        everywhere |= {phrases.unspaced} if phrases.unspaced else set()
        assert phrases.found_in(text) == any(pattern.search(text.text) for pattern in everywhere)
