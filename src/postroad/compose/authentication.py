"""The checks of whose mail it is, from the configuration."""

from __future__ import annotations

from collections.abc import Callable

from postroad.config import Config
from postroad.message.dns import Lookup
from postroad.receive.authentication import Authentication, AuthenticationSettings, CleaningCheck
from postroad.receive.caller import Role
from postroad.receive.checks import Checks
from postroad.receive.findings import Measures
from postroad.receive.guard.networks import Networks, parse_network
from postroad.road.site import is_public_suffix
from postroad.smtp.address import to_a_labels


def settings(config: Config) -> AuthenticationSettings:
    """What is looked at, and what follows."""
    section = config.authentication
    return AuthenticationSettings(
        authserv_id=to_a_labels(section.authserv_id or config.server.hostname),
        hostname=config.server.hostname,
        measures=Measures(
            is_enforced=section.policy == "enforce",
            holds_quarantined=section.quarantine == "hold",
            refuses_spf_fail=section.spf_fail == "refuse",
            defers_temporary=section.temporary == "defer",
            trusted_sealers=frozenset(to_a_labels(domain) for domain in section.trusted_sealers),
        ),
        timeout_s=section.timeout_s,
        exempt=Networks(parse_network(text) for text in config.door.exempt),
        refuses_null_mx=section.null_mx == "refuse",
        missing_domain=section.missing_domain,
    )


def checks(config: Config, role: Role, lookup: Callable[[], Lookup], now: Callable[[], float]) -> Checks:
    """The checks of a listener; on all of them, nobody's results pass for ours."""
    if config.authentication.policy == "off":
        return Checks()
    own = settings(config)
    if role.is_submission:
        return Checks(message=(CleaningCheck(own.authserv_id).message,))
    authentication = Authentication(settings=own, lookup=lookup, now=now, is_public_suffix=is_public_suffix)
    return Checks(mail=(authentication.mail,), message=(authentication.message,))
