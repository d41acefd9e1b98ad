"""Reports: every verdict in every form, and nothing in them that a spreadsheet or a terminal would obey."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply
from postroad.verify.columns import OwnColumns
from postroad.verify.judge import Known, Step, judge
from postroad.verify.report import evidence_line, summary
from postroad.verify.tables import COLUMNS, TEXT_FORMATS, judged, safe_cell
from postroad.verify.verdict import Traits, Verdict

HOSTILE = '=cmd|"/c calc"!A1\x1b[31m\r\nX-Forged: <b>yes</b>\u202e'


def verdict(address: str = "a@x.test", text: str = "OK") -> Verdict:
    step = Step(phase=Phase.RCPT, reply=Reply(250, (text,)), host="mx.x.test", address="192.0.2.1", port=25)
    return judge(address, (step,), step, Known(mx=("mx.x.test",), traits=Traits(normalised=address)))


def rows(*verdicts: Verdict) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(TEXT_FORMATS["csv"](map(judged, verdicts), OwnColumns())))))


def test_csv_has_a_header_and_a_row_for_each() -> None:
    (row,) = rows(verdict())
    assert tuple(row) == COLUMNS
    assert row["verdict"] == "deliverable" and row["reply"] == "250 OK" and row["host"] == "mx.x.test"


def test_jsonl_has_a_line_for_each() -> None:
    lines = list(TEXT_FORMATS["jsonl"](map(judged, [verdict(), verdict("b@x.test")]), OwnColumns()))
    assert [json.loads(line)["address"] for line in lines] == ["a@x.test", "b@x.test"]
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r="])
def test_h11_no_cell_begins_as_a_formula_does(start: str) -> None:
    (row,) = rows(verdict(f"{start}1+1@x.test"))
    assert not row["address"].startswith(("=", "+", "-", "@", "\t", "\r"))


@given(st.text(st.characters()))
def test_h11_any_text_is_one_printable_cell(text: str) -> None:
    cell = safe_cell(text)
    assert cell.isprintable() and not cell.startswith(("=", "+", "-", "@"))


def test_h11_a_hostile_reply_stays_on_its_line_and_off_the_terminal() -> None:
    found = verdict(text=HOSTILE)
    (row,) = rows(found)
    assert row["reply"].isprintable()
    assert evidence_line(found.proof).isprintable()
    assert evidence_line(found.proof).startswith("mx.x.test: 250 =cmd")


def test_the_summary_counts_each_judgement_with_its_reasons() -> None:
    lines = list(summary({"deliverable:accepted": 3, "unknown:greylisted": 1, "unknown:timed_out": 2}))
    assert [line.split()[:3] for line in lines] == [["deliverable", "3", "50.0%"], ["unknown", "3", "50.0%"]]
    assert "timed_out 2, greylisted 1" in lines[1]
    assert list(summary({})) == []
