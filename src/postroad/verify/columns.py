"""Where in a list the addresses are: the delimiter, the header, the column; judged from its first rows.

Header words of many languages decide, and where there are none, the column that looks most like addresses. Pure.
Used by lists.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from postroad.verify.address import looks_like_address
from postroad.verify.lines import ListError

DELIMITERS = ",;\t|"
CONSISTENT = 0.6
"""The share of rows that must have the same number of columns for a delimiter to be believed."""

_WORDS = """
    email e-mail mail emails e-mails mails emailaddress e-mailaddress mailaddress emailid mailid emailaddr mailaddr
    emailadresse e-mailadresse mailadresse e-mail-adresse mail-adresse
    courriel adressee-mail adresseemail adressemail adressecourriel mél
    correo correoelectrónico correoelectronico direccióndecorreo direccióndecorreoelectrónico
    email1 e-mail1 primaryemail workemail businessemail contactemail useremail customeremail recipientemail
    indirizzoemail indirizzoe-mail postaelettronica indirizzomail
    endereçodeemail endereçodee-mail enderecodeemail correioeletrônico correioeletrónico
    e-mailadres emailadres mailadres adrese-mail adresemail pocztaelektroniczna poczta
    e-post epost e-postadress epostadress e-postadresse epostadresse sähköposti sähköpostiosoite
    e-mailová-adresa e-mailováadresa emailováadresa e-mailcím emailcím eposta e-posta e-postaadresi epostaadresi
    ηλεκτρονικόταχυδρομείο почта эл.почта электроннаяпочта адресэлектроннойпочты емейл имейл електроннапошта
    电子邮件 电子邮箱 邮箱 邮箱地址 電子郵件 電郵 信箱 メール メールアドレス 이메일 이메일주소 전자메일
    البريدالإلكتروني البريد דוא"ל אימייל ईमेल อีเมล
    recipient recipients rcpt to
"""
HEADER_WORDS = frozenset(_WORDS.split())
"""Header cells that name the column of addresses, in lower case and without spaces and underscores."""


@dataclass(frozen=True, slots=True)
class Layout:
    """`delimiter` empty: one address a line, no CSV. `column` counts from 0."""

    delimiter: str
    has_header: bool
    column: int


def find_delimiter(lines: Sequence[str]) -> str:
    """The delimiter of those lines, or nothing where they have none."""
    best, best_score = "", 0.0
    for delimiter in DELIMITERS:
        counts = Counter(len(row) for row in split_rows(lines, delimiter) if row)
        if not counts:
            continue
        columns, times = counts.most_common(1)[0]
        share = times / sum(counts.values())
        if columns > 1 and share >= CONSISTENT and share > best_score:
            best, best_score = delimiter, share
    return best or _header_delimiter(lines)


def _header_delimiter(lines: Sequence[str]) -> str:
    """The delimiter that makes a header of the first line; nothing where none does. Rows may be ragged below it."""
    for delimiter in DELIMITERS:
        cells = next(iter(split_rows(lines[:1], delimiter)), [])
        if len(cells) > 1 and any(header_word(cell) in HEADER_WORDS for cell in cells):
            return delimiter
    return ""


def split_rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The rows of those lines; where they are no clean CSV (a quote never closed, or cut off), each line is a row."""
    ended = [f"{line}\n" for line in lines]
    try:
        return list(csv.reader(ended, delimiter=delimiter, strict=True))
    except csv.Error:
        pass
    rows: list[list[str]] = []
    for line in ended:
        try:
            rows.extend(csv.reader([line], delimiter=delimiter))
        except csv.Error:
            continue
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnColumns:
    """The list's own columns, as its output needs them. `names`: of the header, empty where there is none."""

    names: tuple[str, ...] = ()
    width: int = 0
    """Cells of the widest row."""
    column: int = 0
    """Which of them holds the address, from 0."""
    delimiter: str = ""
    """Of a list that is CSV."""

    @property
    def is_bare(self) -> bool:
        """Whether the list is nothing but addresses."""
        return not self.names and self.width < 2

    @property
    def titles(self) -> tuple[str, ...]:
        """A title for each column: of the header, `column 3` where it has none."""
        given = self.names[: max(self.width, len(self.names))]
        rest = range(len(given) + 1, self.width + 1)
        return (*given, *(f"column {number}" for number in rest))

    @property
    def keys(self) -> tuple[str, ...]:
        """The titles as keys of an object: none empty, none twice."""
        found: dict[str, None] = {}
        for number, title in enumerate(self.titles, 1):
            base = title.strip() or f"column {number}"
            key, count = base, 1
            while key in found:
                count += 1
                key = f"{base} {count}"
            found[key] = None
        return tuple(found)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> OwnColumns:
        """What `to_json` wrote; a list without columns for nothing, as runs of older versions kept them."""
        data = json.loads(text or "{}")
        return cls(**{**data, "names": tuple(data.get("names", ()))})


def find_layout(
    rows: Sequence[Sequence[str]], delimiter: str, wanted: str | None, *, has_names: bool = False
) -> Layout:
    """Header and column of a list that begins with those rows; `wanted` names or numbers the column (from 1).

    `has_names`: the first row is names for certain. Raises ListError where no column, or not the one wanted, is there.
    """
    if not rows:
        return Layout(delimiter, has_header=False, column=_number(wanted) or 0)
    first = rows[0]
    words = [header_word(cell) for cell in first]
    has_addresses = any(looks_like_address(cell) for cell in first)
    has_word = any(word in HEADER_WORDS for word in words)
    is_named = wanted is not None and wanted.strip().casefold() in [cell.strip().casefold() for cell in first]
    has_header = has_names or (not has_addresses and (has_word or is_named or len(first) > 1))
    body = rows[1:] if has_header else rows
    width = max(len(row) for row in rows)
    if wanted is not None:
        return Layout(delimiter, has_header, _wanted(wanted, first, width, has_header=has_header))
    shares = [_share(body, column) for column in range(width)]
    named = [column for column, word in enumerate(words) if word in HEADER_WORDS] if has_header else []
    if named:
        return Layout(delimiter, has_header, max(named, key=lambda column: (shares[column], -column)))
    column = max(range(width), key=lambda column: (shares[column], -column))
    if not shares[column] and width == 1 and body:
        raise ListError("no line of it holds an address: a list has one a line, or a column of them")
    if not shares[column] and width > 1:
        names = ", ".join(cell.strip()[:40] for cell in first[:20])
        raise ListError(f"no column holds addresses; name it by --column NAME or NUMBER (the first row: {names})")
    return Layout(delimiter, has_header, column)


def header_word(cell: str) -> str:
    """A header cell as HEADER_WORDS has it."""
    return "".join(cell.casefold().replace("_", " ").strip(" \t:*#").split())


def _share(rows: Sequence[Sequence[str]], column: int) -> float:
    cells = [row[column] for row in rows if column < len(row) and row[column].strip()]
    return sum(map(looks_like_address, cells)) / len(cells) if cells else 0.0


def _number(wanted: str | None) -> int | None:
    return int(wanted) - 1 if wanted is not None and wanted.isdecimal() and 0 < len(wanted) < 6 else None


def _wanted(wanted: str, first: Sequence[str], width: int, *, has_header: bool) -> int:
    folded = [cell.strip().casefold() for cell in first]
    if has_header and wanted.strip().casefold() in folded:
        return folded.index(wanted.strip().casefold())
    number = _number(wanted)
    if number is not None and 0 <= number < width:
        return number
    if number is not None:
        raise ListError(f"there is no column {wanted}: the list has {width}")
    names = ", ".join(cell.strip()[:40] for cell in first[:20]) if has_header else "none: there is no header"
    raise ListError(f"there is no column {wanted!r}; the columns are {names}")
