"""A set added to an ARC chain: what we saw, the message as it leaves, and a seal on all of it (RFC 8617 §5.1)."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence

from postroad.message.arc import MAX_SETS, ArcResult, Chain, arc_sets, fields_of_set
from postroad.message.dkim_canon import BodyHashes, Field, chosen_fields, relaxed_field, split_fields
from postroad.message.dkim_sign import MAX_OF_ONE_NAME, SigningKey, folded, names_to_sign, signed_field
from postroad.message.dkim_tags import TagError
from postroad.message.headers import header_line


def seal(
    message: bytes,
    key: SigningKey,
    *,
    chain: ArcResult,
    results: str,
    now: float,
    names: Sequence[str] | None = None,
) -> bytes:
    """The three fields to put above a message after its last change; empty where none may be added.

    `chain`: what was said of it on arrival; nothing is added to one that has ended, is full, or could not be checked.
    `results`: our authserv-id and what we saw, as Authentication-Results has it, on one line. `now`: wall clock.
    `names`: the fields to sign. Raises LocalProtocolError where `results` holds a line break."""
    if chain.is_ended or chain.verdict is Chain.TEMPERROR or chain.instances >= MAX_SETS:
        return b""
    fields, body_start = split_fields(message)
    number, second = chain.instances + 1, int(now // 1)
    seen = header_line("ARC-Authentication-Results", f"i={number}; {results}")
    body_hash = base64.b64encode(BodyHashes(message[body_start:]).of(is_relaxed=True)[0]).decode("ascii")
    chosen = list(names) if names is not None else _names(fields)
    signed = chosen_fields(fields, [name.lower().encode("ascii") for name in chosen])
    signature = signed_field(
        f"ARC-Message-Signature: a={key.algorithm.signature};\r\n\tb=",
        f";\r\n\tbh={body_hash}; c=relaxed/relaxed;\r\n\td={key.domain}; h={folded(chosen)};"
        f"\r\n\t i={number}; s={key.selector}; t={second}",  # dkimpy looks for « i=»
        key,
        b"".join([relaxed_field(raw) + b"\r\n" for raw in signed]),
    )
    validation = _claim(chain)
    before = b"" if validation == "fail" else _sealed_before(fields)
    sealed = signed_field(
        f"ARC-Seal: a={key.algorithm.signature};\r\n\tb=",
        f"; cv={validation}; d={key.domain};\r\n\t i={number}; s={key.selector}; t={second}",
        key,
        before + relaxed_field(seen[:-2]) + b"\r\n" + relaxed_field(signature[:-2]) + b"\r\n",
    )
    return sealed + signature + seen


def _claim(chain: ArcResult) -> str:
    """What our seal says of those before it; a broken chain is sealed once as broken (§5.1.2)."""
    return {Chain.NONE: "none", Chain.PASS: "pass"}.get(chain.verdict, "fail")


def _sealed_before(fields: Sequence[Field]) -> bytes:
    try:
        sets = arc_sets(fields)
    except TagError:
        return b""
    return b"".join([relaxed_field(one.raw) + b"\r\n" for each in sets for one in fields_of_set(each)])


def _names(fields: Sequence[Field]) -> list[str]:
    """As for DKIM, and the DKIM signatures that stand in the message."""
    count = Counter(one.name for one in fields)[b"dkim-signature"]
    return [*names_to_sign(fields), *["DKIM-Signature"] * min(count, MAX_OF_ONE_NAME)]
