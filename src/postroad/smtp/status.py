"""Enhanced mail system status codes (RFC 3463) as values, and what the registered ones mean (RFC 5248)."""

from __future__ import annotations

import re
from typing import NamedTuple

from postroad.smtp.status_registry import REGISTERED

_SYNTAX = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})")


class EnhancedStatus(NamedTuple):
    """`class.subject.detail` (RFC 3463 §2)."""

    cls: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.cls}.{self.subject}.{self.detail}"

    @classmethod
    def parse(cls, text: str) -> EnhancedStatus | None:
        """The status that `text` is, or None when it is none."""
        found = _SYNTAX.fullmatch(text)
        return cls(int(found[1]), int(found[2]), int(found[3])) if found else None


def describe(status: EnhancedStatus) -> str | None:
    """What the IANA registry calls the status, whatever its class; None for one that is not registered."""
    return REGISTERED.get((status.subject, status.detail))
