"""How `postroad domain` tells of records and keys: for people, who copy them into a zone, and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from postroad.events import escaped
from postroad.message.dkim_key import txt_strings
from postroad.message.domain_check import Finding, State, is_well
from postroad.message.domain_records import DomainSetup, Record, records, sts_policy, sts_policy_url
from postroad.store.dkim_keys import KeptKey, KeyState

WIDTH = 110
MAX_FOUND_CHARS = 2000


def _stamp(at: float | None) -> str | None:
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


# For people -------------------------------------------------------------------------------------------------------


def told(setup: DomainSetup, kept: Sequence[KeptKey], *, is_local: bool, only: set[str] | None) -> str:
    """What to publish, each record with its reason. `only`: the keys of these selectors and nothing else."""
    if only is not None:
        lines = [f"New keys for {setup.domain}. Publish their records; the keys in use sign until DNS shows them.", ""]
        wanted = {f"DKIM {selector}" for selector in only}
        for record in records(setup):
            if record.about in wanted:
                lines += _record_lines(record)
        return "\n".join(lines)
    lines = [f"Publish for {setup.domain}:", ""]
    for record in records(setup):
        lines += _record_lines(record)
    if not setup.addresses:
        lines += _wrapped(
            f"PTR: the address that mail leaves from must lead to {setup.hostname}, and that name back to the address;"
            " --address IP prints both records.",
            "; ",
        )
        lines.append("")
    lines += _wrapped(f"MTA-STS policy, at {sts_policy_url(setup.domain)}:", "; ")
    lines += [f"  {line}" for line in sts_policy([setup.hostname]).splitlines()]
    lines += ["", *_key_lines(kept)]
    if not is_local:
        lines += [f"{setup.domain} is not in [domains] local: mail to it is not taken here before it is."]
    return "\n".join(lines) + "\n"


def _record_lines(record: Record) -> list[str]:
    head = f"{record.about}{'' if record.is_needed else ' (better with it)'}: {record.why}"
    return [*_wrapped(head, "; "), record.zone_line, ""]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(escaped(text), WIDTH, initial_indent=indent, subsequent_indent=indent)


def _key_lines(kept: Sequence[KeptKey]) -> list[str]:
    if not kept:
        return ["There are no keys: `postroad domain add` makes them."]
    return [f"key {one.selector}: {_said(one)}" for one in kept]


def _said(one: KeptKey) -> str:
    match one.state:
        case KeyState.PENDING:
            return f"{one.algorithm}, pending: signs once DNS shows it"
        case KeyState.ACTIVE:
            return f"{one.algorithm}, active since {_stamp(one.active_at)}"
        case KeyState.RETIRED:
            return f"{one.algorithm}, retired since {_stamp(one.retired_at)}"


def listed(found: Sequence[tuple[str, Sequence[KeptKey]]]) -> Iterator[str]:
    """A line for each key: domain, selector, kind, state."""
    for domain, kept in found:
        for one in kept:
            yield f"{domain}\t{one.selector}\t{one.algorithm}\t{one.state}\n"


def checked(domain: str, findings: Sequence[Finding], activated: Sequence[KeptKey]) -> str:
    """What DNS says of each record, and what to publish where it is wrong."""
    lines = []
    for one in findings:
        is_better = one.state is State.MISSING and not one.record.is_needed
        lines.append(f"{one.state:<8} {one.record.about}{' (better with it)' if is_better else ''}")
        if one.found and one.state is not State.OK:
            lines.append(f"         found:   {escaped(one.found[:MAX_FOUND_CHARS])}")
        if one.state in (State.MISSING, State.DIFFERS):
            lines.append(f"         publish: {one.record.zone_line}")
        if one.note:
            lines.append(f"         {escaped(one.note[:MAX_FOUND_CHARS])}")
    lines += [f"the key {one.selector} of {domain} signs from now on" for one in activated]
    wrong, unknown = sum(one.is_wrong for one in findings), sum(one.state is State.UNKNOWN for one in findings)
    told_of = [f"{wrong} to mend"] * bool(wrong) + [f"{unknown} unknown"] * bool(unknown)
    lines.append(f"{domain}: {', '.join(told_of) or 'all is well'}")
    return "\n".join(lines)


# JSON -------------------------------------------------------------------------------------------------------------


def _record_values(record: Record) -> dict[str, object]:
    values: dict[str, object] = {
        "about": record.about,
        "name": record.name,
        "type": record.kind,
        "value": record.value,
        "needed": record.is_needed,
        "why": record.why,
    }
    if record.kind == "TXT":
        values["strings"] = list(txt_strings(record.value))
    return values


def _key_values(one: KeptKey) -> dict[str, object]:
    return {
        "selector": one.selector,
        "algorithm": str(one.algorithm),
        "state": str(one.state),
        "created_at": _stamp(one.created_at),
        "active_at": _stamp(one.active_at),
        "retired_at": _stamp(one.retired_at),
    }


def setup_json(setup: DomainSetup, kept: Sequence[KeptKey]) -> str:
    """What to publish, and the keys."""
    return json.dumps(
        {
            "domain": setup.domain,
            "records": [_record_values(record) for record in records(setup)],
            "mta_sts_policy": {"url": sts_policy_url(setup.domain), "text": sts_policy([setup.hostname])},
            "keys": [_key_values(one) for one in kept],
        }
    )


def keys_json(found: Sequence[tuple[str, Sequence[KeptKey]]]) -> str:
    """The keys of every domain."""
    return json.dumps([{"domain": domain, "keys": [_key_values(one) for one in kept]} for domain, kept in found])


def findings_json(domain: str, findings: Sequence[Finding], activated: Sequence[KeptKey]) -> str:
    """What DNS says of each record."""
    return json.dumps(
        {
            "domain": domain,
            "ok": is_well(findings),
            "records": [
                {**_record_values(one.record), "state": str(one.state), "found": one.found, "note": one.note}
                for one in findings
            ],
            "activated": [one.selector for one in activated],
        }
    )
