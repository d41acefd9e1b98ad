"""Every way in which mail is not taken has a sentence for people, and advice that helps."""

from __future__ import annotations

import pytest

from postroad.meaning.rule import Kind
from postroad.message.dsn_words import EXPIRED, WORDS, sentences, tried


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.ACCEPTED])
def test_each_meaning_has_words(kind: Kind) -> None:
    for is_final in (True, False):
        told = sentences(str(kind), host="mx.example.net", address="ann@example.net", is_final=is_final)
        assert len(told) == 2 and all(one.endswith(".") and "{" not in one for one in told)
        nameless = sentences(str(kind), host="", address="ann@example.net", is_final=is_final)
        assert all("host  " not in one for one in nameless)


def test_there_are_words_for_nothing_else() -> None:
    assert set(WORDS) == {str(kind) for kind in Kind} - {"accepted"}
    assert sentences("accepted", host="h", address="a", is_final=True) == []


def test_a_time_that_is_over_is_told_whatever_the_reply_meant() -> None:
    assert sentences("greylisted", host="h", address="a", is_final=True, is_expired=True)[0] == EXPIRED.happened


def test_several_tries_are_told() -> None:
    assert (tried(1, is_final=True), tried(14, is_final=True)) == ("", "It was tried 14 times.")
    assert tried(3, is_final=False) == "It was tried 3 times so far."
