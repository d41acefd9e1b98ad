"""Lists in any encoding in use: told apart where they can be, and named where not."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.verify.charset import guess
from postroad.verify.lines import ListError, read_lines
from postroad.verify.lists import ListReader
from postroad.verify.rows import ListRow

NAMES = {
    "de": ["Jürgen Groß", "Käthe Müller", "Österreich", "Bäckerei Schön", "Straße 5"],
    "fr": ["Éloïse Lefèvre", "Société générale", "Gaël", "Hélène Bézier", "Façade"],
    "es": ["José Muñoz", "Peña Ibáñez", "Dirección", "María Núñez", "Año"],
    "pl": ["Łukasz Wójcik", "Świętokrzyskie", "Żółć", "Małgorzata Król", "Kraków"],
    "cs": ["Jiří Dvořák", "Šárka Nováková", "Žižkov", "Tomáš Černý", "Příbram"],
    "tr": ["Işıl Yıldız", "Gökçe Şahin", "İstanbul", "Çağrı Doğan", "Müdür Öztürk"],
    "ru": ["Иванов Сергей", "Москва", "Санкт-Петербург", "Ольга Кузнецова", "Менеджер"],
    "el": ["Γιώργος Παπαδόπουλος", "Αθήνα", "Ελένη", "Θεσσαλονίκη", "Διευθυντής"],
    "he": ["ירושלים", "שרה כהן", "מנהל", "דוד לוי", "חיפה"],
    "ar": ["محمد علي", "القاهرة", "مدير المبيعات", "فاطمة", "الرياض"],
    "th": ["สมชาย ใจดี", "กรุงเทพ", "ผู้จัดการ", "เชียงใหม่", "สมหญิง"],
    "ja": ["山田太郎", "東京都", "さくら商店", "カタログ請求", "営業部の鈴木"],
    "zh": ["张伟", "北京市朝阳区", "销售经理", "李小明", "上海"],
    "tw": ["陳小明", "台北市", "業務經理", "林美華", "高雄"],
    "ko": ["김민수", "서울특별시", "영업부", "이영희", "부산"],
}

USED = [
    ("de", "cp1252"), ("fr", "cp1252"), ("es", "cp1252"), ("de", "mac-roman"), ("fr", "cp850"),
    ("pl", "cp1250"), ("pl", "iso8859-2"), ("cs", "cp1250"), ("tr", "cp1254"),
    ("ru", "cp1251"), ("ru", "koi8-r"), ("ru", "cp866"), ("ru", "iso8859-5"),
    ("el", "cp1253"), ("el", "iso8859-7"), ("he", "cp1255"), ("ar", "cp1256"), ("th", "cp874"),
    ("ja", "shift_jis"), ("ja", "euc_jp"), ("ja", "iso2022_jp"), ("zh", "gbk"), ("zh", "gb18030"),
    ("tw", "big5"), ("ko", "euc_kr"),
]  # fmt: skip
WIDE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


def table(language: str) -> str:
    rows = [f"{name},u{number}@x.test,note" for number, name in enumerate(NAMES[language])]
    return "\n".join(["name,email,note", *rows, ""])


def names(data: bytes, encoding: str | None = None) -> list[object]:
    return [row.cells[0] for row in ListReader(io.BytesIO(data), encoding=encoding) if isinstance(row, ListRow)]


@pytest.mark.parametrize(("language", "encoding"), USED)
def test_an_old_encoding_is_told_by_what_it_makes_of_the_names(language: str, encoding: str) -> None:
    assert names(table(language).encode(encoding)) == NAMES[language]


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("language", NAMES)
def test_unicode_is_told_with_and_without_its_mark(language: str, encoding: str) -> None:
    assert names(table(language).encode(encoding)) == NAMES[language]


@pytest.mark.parametrize("encoding", ["windows-1251", "SHIFT_JIS", "utf-16-le", "cp037", "iso-8859-15", "hz"])
def test_an_encoding_that_was_named_is_taken(encoding: str) -> None:
    language = {"SHIFT_JIS": "ja", "windows-1251": "ru", "hz": "zh"}.get(encoding, "es")
    assert names(table(language).encode(encoding), encoding) == NAMES[language]


@pytest.mark.parametrize("encoding", ["nonsense", "rot13", "base64", "idna", "unicode_escape", "", "a\0b"])
def test_what_is_no_encoding_of_text_is_told(encoding: str) -> None:
    with pytest.raises(ListError, match="is no encoding of text"):
        names(b"a@x.test\n", encoding)


def test_bytes_that_the_named_encoding_does_not_have_cost_no_row() -> None:
    assert names(b"name,email\n\xff\xfe\xfd,a@x.test\n", "utf-8") == ["\ufffd\ufffd\ufffd"]


def test_lines_of_another_encoding_within_a_file_are_read_in_it() -> None:
    data = table("ru").encode() + "Ольга,z@x.test,\n".encode("cp1251")
    assert names(data) == [*NAMES["ru"], "Ольга"]


def test_an_encoding_that_shows_late_is_still_told() -> None:
    data = b"name,email,note\n" + b"Ann,a@x.test,x\n" * 30_000 + "Сергей Иванов,z@x.test,\n".encode("cp1251")
    assert names(data)[-1] == "Сергей Иванов"


@given(st.binary(max_size=300))
def test_h12_a_guess_never_fails_and_names_a_codec(data: bytes) -> None:
    data.decode(guess(data), errors="replace")


@given(st.binary(max_size=200), st.sampled_from(["\n", "\r\n"]))
def test_lines_are_counted_whatever_they_hold(data: bytes, end: str) -> None:
    data = data.replace(b"\0", b"").replace(b"\r", b"").replace(b"\x1b", b"") + b"\nlast"
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x84\x31\x95\x33")):
        return
    lines = list(read_lines(io.BytesIO(data.replace(b"\n", end.encode()))))
    assert [line.number for line in lines] == list(range(1, data.count(b"\n") + 2))
    assert lines[-1].text == "last"
