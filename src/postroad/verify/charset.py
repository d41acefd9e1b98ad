"""Which old encoding some bytes are in that are no UTF-8: judged by what they would mean in each. Pure.

Every candidate reads a bounded sample; the one that makes it ordinary text of a language written in it wins, and
Windows-1252 where nothing speaks for another. Addresses are ASCII in all of them: a wrong guess costs accents in other
columns, no address, and `--encoding` sets it right. Used by lines.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

SAMPLE_OCTETS = 1 << 16

_KANA = r"\u3041-\u3096\u30a1-\u30fa\u30fc"
_LATIN = {
    "cp1252": "äöüßéèêëàâçùûôîïñóíáúãõåæøœÄÖÜÉÈÀÇÑÓÍÁÚÃÕÅÆØ",
    "cp1250": "ąćęłńśźżáčďéěíňóřšťúůýžőűăţşôľŕäöüßĄĆĘŁŃÓŚŹŻČĎŇŘŠŤŮÝŽŐŰ",
    "iso8859-2": "ąćęłńśźżáčďéěíňóřšťúůýžőűăţşôľŕäöüßĄĆĘŁŃÓŚŹŻČĎŇŘŠŤŮÝŽŐŰ",
    "cp1254": "çğıöşüÇĞİÖŞÜâîû",
    "cp1257": "āčēģīķļņšūžąęėįųõäöüĀČĒĢĪĶĻŅŠŪŽĄĘĖĮŲ",
    "mac-roman": "äöüßéèêëàâçùûôîïñóíáúãõåæøœÄÖÜÉÈÀÇÑÓÅÆØ",
    "cp850": "äöüßéèêëàâçùûôîïñóíáúãõåæøÄÖÜÉÈÀÇÑÓÅÆØ",
}
"""Encoding → the letters beyond ASCII that its languages use."""
_ALPHABETS = {
    "cp1251": "а-яёіїєґўА-ЯЁІЇЄҐЎ",
    "koi8-r": "а-яёА-ЯЁ",
    "koi8-u": "а-яёіїєґА-ЯЁІЇЄҐ",
    "cp866": "а-яёА-ЯЁ",
    "iso8859-5": "а-яёіїєўА-ЯЁІЇЄЎ",
    "cp1253": "α-ωάέήίόύώϊϋΑ-ΩΆΈΉΊΌΎΏς",
    "iso8859-7": "α-ωάέήίόύώϊϋΑ-ΩΆΈΉΊΌΎΏς",
    "cp1255": "א-ת",
    "cp1256": "ء-يپچژگ",
    "iso8859-6": "ء-ي",
    "cp874": "ก-ฺเ-๎",
}
"""Encoding → the letters of its alphabet, as a regular expression has them."""
_FREQUENT = {"cp1251": "оеаинтсрвлк", "cp1253": "αοιετσνηυρς", "cp1255": "יוהלאתרבמ", "cp1256": "اليمونترب"}
_SYLLABLES = {
    "shift_jis": re.compile(rf"[{_KANA}\u4e00-\u9fa5\u3000-\u3002]"),
    "cp932": re.compile(rf"[{_KANA}\u4e00-\u9fa5\u3000-\u3002]"),
    "euc_jp": re.compile(rf"[{_KANA}\u4e00-\u9fa5\u3000-\u3002]"),
    "gb18030": re.compile(r"[\u4e00-\u9fa5\u3000-\u3002]"),
    "big5": re.compile(r"[\u4e00-\u9fa5\u3000-\u3002]"),
    "euc_kr": re.compile(r"[\uac00-\ud7a3]"),
}
_COMMON = {
    "gb18030": ("gb2312", range(0xB0, 0xD8)),
    "big5": ("big5", range(0xA4, 0xC7)),
    "euc_jp": ("euc_jp", range(0xB0, 0xD0)),
    "cp932": ("cp932", range(0x88, 0x98)),
}
"""Encoding → the first octets of its frequent ideographs (level 1 of the standard)."""
_WORD = re.compile(r"[^\W\d_]+")
_MIXED = re.compile(r"[a-z](?=[^\x00-\x7f])|[^\x00-\x7f](?=[a-z])")
"""Where a lower-case letter and an ideograph touch: a word of neither language."""
_KANA_RUN = re.compile(rf"[{_KANA}]")


def guess(sample: bytes) -> str:
    """The Python name of the encoding that makes most sense of the sample, which is no UTF-8. Never fails."""
    sample = _high_lines(sample[:SAMPLE_OCTETS])
    if b"\x1b$" in sample or b"\x1b(J" in sample:
        return "iso2022_jp"
    best, best_score = "cp1252", 0.0
    for name, score in _scores(sample).items():
        if score > best_score + 1e-9:
            best, best_score = name, score
    return best


def _high_lines(sample: bytes) -> bytes:
    """The lines that are not ASCII; the last one, which may be cut within a character, only if it is alone."""
    lines = sample.split(b"\n")
    whole = lines[:-1] if len(lines) > 1 and len(sample) == SAMPLE_OCTETS else lines
    return b"\n".join(line for line in whole if not line.isascii() or b"\x1b" in line)


def _scores(sample: bytes) -> Mapping[str, float]:
    """Encoding → how well it fits, at most 1 for each octet beyond ASCII; the earlier wins where two are equal."""
    octets = sum(octet > 0x7F for octet in sample) or 1
    scores: dict[str, float] = {}
    for name, letters in _LATIN.items():
        text = _decoded(sample, name)
        if text is not None:
            scores[name] = _latin_score(text, frozenset(letters)) / octets * 0.9
    for name in _ALPHABETS:
        text = _decoded(sample, name)
        if text is not None:
            scores[name] = _alphabet_score(text, name) / octets
    for name in ("cp932", "euc_jp", "gb18030", "big5", "euc_kr"):
        text = _decoded(sample, name)
        if text is not None:
            scores[name] = _syllable_score(text, name) / octets
    return scores


def _decoded(sample: bytes, name: str) -> str | None:
    try:
        return codecs.decode(sample, name)
    except UnicodeDecodeError:
        return None


def _latin_score(text: str, letters: frozenset[str]) -> float:
    """A letter of the language counts for it, least where all of a word is such letters; anything else against."""
    score = 0.0
    for word in _WORD.findall(text):
        high = [one for one in word if not one.isascii()]
        if not high:
            continue
        good = sum(1.0 if one in letters else -1.0 for one in high)
        if len(word) > 2 and len(high) * 2 > len(word):
            good -= len(high)
        # An upper-case letter within lower-case ones is no word.
        good -= sum(2.0 for one in word[1:] if one.isupper() and not one.isascii()) if not word.isupper() else 0.0
        score += good
    return score - sum(
        0.5 for one in text if not one.isascii() and not one.isalpha() and one not in "\xa0’“”„–—«»€°ºª§"
    )


def _alphabet_score(text: str, name: str) -> float:
    letters = re.compile(f"[{_ALPHABETS[name]}]")
    frequent = frozenset(_FREQUENT.get(_script(name), ""))
    score = 0.0
    for word in _WORD.findall(text):
        high = [one for one in word if not one.isascii()]
        if not high:
            continue
        good = sum(1.0 if letters.fullmatch(one) else -1.5 for one in high)
        if len(high) < len(word):
            good -= len(high)  # two scripts in one word
        if any(one.isupper() for one in word[1:]) and not word.isupper():
            good -= len(high)
        if frequent:
            good -= 0.3 * sum(1 for one in high if one.lower() not in frequent) / 2
        if len(high) == 1:
            good -= 0.5
        score += good
    return score - sum(1.0 for one in text if not one.isascii() and not one.isalnum() and one not in "\xa0№«»–—’“”„ั่้็ิีึืุู์")


def _script(name: str) -> str:
    """The encoding that stands for the script of this one in `_FREQUENT`."""
    if name in ("koi8-r", "koi8-u", "cp866", "iso8859-5"):
        return "cp1251"
    return {"iso8859-7": "cp1253", "iso8859-6": "cp1256"}.get(name, name)


def _syllable_score(text: str, name: str) -> float:
    """Two octets for each character that is usual in it; kana speak for Japanese, rare ideographs against."""
    score = -1.5 * len(_MIXED.findall(text))
    usual = _SYLLABLES[name]
    codec, frequent = _COMMON.get(name, ("", range(0)))
    for one in text:
        if one.isascii():
            continue
        if not usual.fullmatch(one):
            score -= 1.0
        elif _KANA_RUN.fullmatch(one) or name == "euc_kr":
            score += 2.0
        elif codec:
            try:
                is_frequent = one.encode(codec)[0] in frequent
            except UnicodeEncodeError:
                is_frequent = False
            score += 1.9 if is_frequent or one <= "\u3002" else 0.4
    return score
