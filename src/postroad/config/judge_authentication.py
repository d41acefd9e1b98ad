"""What the settings of authentication show together."""

from __future__ import annotations

from collections.abc import Callable

from postroad.config.values import Config
from postroad.smtp.address import AddressError, to_a_labels

Say = Callable[[tuple[str, ...], str], None]


def judge_authentication(config: Config, complain: Say) -> None:
    """Report names that are none, and measures that would not be taken."""
    section = config.authentication
    if section.authserv_id and not _is_domain(section.authserv_id):
        complain(
            ("authentication", "authserv_id"), f'[authentication] authserv_id: "{section.authserv_id}" is no host name'
        )
    for domain in section.trusted_sealers:
        if not _is_domain(domain):
            complain(
                ("authentication", "trusted_sealers"), f'[authentication] trusted_sealers: "{domain}" is no domain name'
            )
    if section.policy == "enforce":
        return
    measures = {
        "quarantine": section.quarantine == "hold",
        "spf_fail": section.spf_fail == "refuse",
        "temporary": section.temporary == "defer",
        "trusted_sealers": section.policy == "off" and bool(section.trusted_sealers),
    }
    for name, is_asked_for in measures.items():
        if is_asked_for:
            complain(("authentication", name), f'[authentication] {name} needs policy = "enforce"')


def _is_domain(text: str) -> bool:
    try:
        to_a_labels(text)
    except AddressError:
        return False
    return True
