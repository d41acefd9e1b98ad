"""Settings of TLS policies that contradict each other are told (T-02, T-03)."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import Config, load
from postroad.config.judge_tls_policy import trusted_resolver


def mistakes(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "postroad.toml"
    file.write_text(text)
    loaded = load(file, {})
    return [] if isinstance(loaded, Config) else [str(one) for one in loaded]


def test_by_default_mta_sts_is_heeded_sessions_are_counted_and_nothing_is_sent(tmp_path: Path) -> None:
    loaded = load(None, {})
    assert isinstance(loaded, Config)
    assert (loaded.mta_sts.mode, loaded.dane.enabled) == ("enforce", False)
    assert (loaded.tls_reports.count, loaded.tls_reports.send) == (True, False)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[dane]\nenabled = true\nresolver = "192.0.2.53:53"\n', ("192.0.2.53", 53)),
        ('[dane]\nenabled = true\n[dns]\nnameserver = "127.0.0.1:5353"\n', ("127.0.0.1", 5353)),
        ('[dane]\nenabled = true\n[dns]\nnameserver = "[::1]:53"\n', ("::1", 53)),
    ],
)
def test_t02_a_resolver_is_believed_that_was_named_for_it_or_is_on_this_machine(
    tmp_path: Path, text: str, place: tuple[str, int]
) -> None:
    file = tmp_path / "postroad.toml"
    file.write_text(text)
    loaded = load(file, {})
    assert isinstance(loaded, Config)
    assert trusted_resolver(loaded) == place


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[dane]\nenabled = true\n", "name the resolver that validates DNSSEC"),
        ('[dane]\nenabled = true\n[dns]\nnameserver = "192.0.2.53:53"\n', "believed only on this machine"),
        ('[dane]\nresolver = "ns.example.org"\n', "write ADDRESS:PORT"),
        ('[dane]\nenabled = true\nresolver = "127.0.0.1:53"\n[delivery]\ntls = "none"\n', "does nothing"),
        ('[tls_reports]\ncontact = "postmaster"\n', "write a mail address"),
        ('[tls_reports]\ncontact = "p\u00f6st@example.org"\n', "write a mail address"),
        ("[tls_reports]\nsend = true\ncount = false\n", "nothing to report"),
    ],
)
def test_what_contradicts_itself_is_told_in_one_sentence(tmp_path: Path, text: str, why: str) -> None:
    (told,) = mistakes(tmp_path, text)
    assert why in told
