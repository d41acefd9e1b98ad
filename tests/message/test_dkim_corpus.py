"""Messages that others signed, with the results that others found, read where they lie beside the checkout (A-02)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from message.zone_lookup import ZoneLookup
from postroad.message.dkim import verify

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "dkim"
ROWS: list[dict[str, Any]] = json.loads((CORPUS / "expected.json").read_text()) if CORPUS.is_dir() else []
LATER_S = 6 * 3600
"""Rows with a time of their own: one of them was signed some hours after it."""
DEFAULT_TIME = 1_760_000_000


@pytest.mark.skipif(not ROWS, reason=f"the messages are not at {CORPUS}")
def test_a02_every_signature_of_the_corpus_has_the_result_that_others_found() -> None:
    missed = []
    for row in ROWS:
        message = (CORPUS / row["file"]).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        lookup = ZoneLookup({name: {"TXT": [record]} for name, record in row["dns"].items()})
        now = row["at_time"] + LATER_S if row.get("at_time") else DEFAULT_TIME
        found = [str(one.verdict) for one in asyncio.run(verify(message, lookup.texts, now=now))]
        if found != row["expected"]:
            missed.append((row["file"], row["why"], row["expected"], found))
    assert missed == []
    assert len(ROWS) >= 22
