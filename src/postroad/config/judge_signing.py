"""What the settings of signing show together."""

from __future__ import annotations

import re
from collections.abc import Callable

from postroad.config.values import Config
from postroad.smtp.address import AddressError, to_a_labels

Say = Callable[[tuple[str, ...], str], None]
_SELECTOR = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")


def judge_signing(config: Config, complain: Say) -> None:
    """Report keys without a place, and two at one."""
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(config.dkim_key):
        table = ("dkim_key", f"#{index}")
        if not (one.domain and one.selector and one.file):
            complain(table, "[[dkim_key]] needs a domain, a selector and a file")
            continue
        domain = _canonical(one.domain)
        if domain is None:
            complain((*table, "domain"), f'[[dkim_key]] domain: "{one.domain}" is no domain name')
        if _SELECTOR.fullmatch(one.selector) is None:
            complain((*table, "selector"), f'[[dkim_key]] selector: "{one.selector}" is no selector')
        place = (domain or one.domain, one.selector.lower())
        if place in seen:
            complain((*table, "selector"), f'[[dkim_key]] selector: "{one.selector}" of {one.domain} is listed twice')
        seen.add(place)


def _canonical(domain: str) -> str | None:
    try:
        return to_a_labels(domain)
    except AddressError:
        return None
