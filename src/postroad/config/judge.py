"""What no single setting shows: settings that contradict each other, names and addresses that cannot be.

Pure; looks at no file and asks no DNS. Each mistake goes to `complain` with the path of the setting. Used by `load`.
"""

from __future__ import annotations

from postroad.config.complain import Complain as Complain
from postroad.config.judge_authentication import judge_authentication
from postroad.config.judge_guard import judge_guard
from postroad.config.judge_hooks import judge_hooks
from postroad.config.judge_mailboxes import judge_mailboxes
from postroad.config.judge_queueing import judge_queueing
from postroad.config.judge_returns import judge_returns
from postroad.config.judge_shaping import judge_shaping
from postroad.config.judge_signing import judge_signing
from postroad.config.judge_tls_policy import judge_tls_policy
from postroad.config.places import is_ip as is_ip
from postroad.config.places import split_host_port as split_host_port
from postroad.config.values import Config, RouteSettings
from postroad.smtp.address import Address, AddressError, to_a_labels
from postroad.smtp.sasl import PREFERENCE


def judge(config: Config, complain: Complain) -> None:
    """Report every contradiction in the configuration."""
    _judge_names(config, complain)
    _judge_receiving(config, complain)
    _judge_road(config, complain)
    _judge_listeners(config, complain)
    for index, route in enumerate(config.route):
        _judge_route(route, ("route", f"#{index}"), complain)
    _judge_twice_routed(config, complain)
    judge_mailboxes(config, complain)
    judge_guard(config, complain)
    judge_authentication(config, complain)
    judge_tls_policy(config, complain)
    judge_signing(config, complain)
    judge_shaping(config, complain)
    judge_queueing(config, complain)
    judge_hooks(config, complain)
    judge_returns(config, complain)


def _judge_names(config: Config, complain: Complain) -> None:
    if config.server.hostname and not is_domain(config.server.hostname.rstrip(".")):
        complain(("server", "hostname"), f'[server] hostname: "{config.server.hostname}" is no host name')
    for domain in config.domains.local:
        if not is_domain(domain):
            complain(("domains", "local"), f'[domains] local: "{domain}" is no domain name')
    if len(config.domains.separator) > 1:
        complain(("domains", "separator"), "[domains] separator: write one character, or none")
    if config.domains.postmaster:
        try:
            Address.parse(f"{config.domains.postmaster}@localhost", smtputf8=True)
        except AddressError:
            complain(
                ("domains", "postmaster"), "[domains] postmaster: write the local user's name, without @ and domain"
            )


def _judge_receiving(config: Config, complain: Complain) -> None:
    if bool(config.tls.certificate) != bool(config.tls.key):
        given = "certificate" if config.tls.certificate else "key"
        complain(
            ("tls", given), "[tls] certificate and key go together: give both, or neither", also=("certificate", "key")
        )
    for mechanism in config.auth.mechanisms:
        if mechanism not in PREFERENCE:
            complain(
                ("auth", "mechanisms"),
                f'[auth] mechanisms: "{mechanism}" is not one of {", ".join(sorted(PREFERENCE))}',
            )
    if not config.auth.mechanisms:
        complain(("auth", "mechanisms"), "[auth] mechanisms: name at least one, or no user could send mail")
    if config.limits.body_memory_octets < config.limits.message_octets:
        complain(
            ("limits", "body_memory_octets"),
            "[limits] body_memory_octets is less than message_octets: a message of that size could never be taken",
            also=("message_octets",),
        )


def _judge_road(config: Config, complain: Complain) -> None:
    if config.dns.nameserver and split_host_port(config.dns.nameserver) is None:
        complain(("dns", "nameserver"), '[dns] nameserver: write ADDRESS:PORT, such as "127.0.0.1:53" or "[::1]:53"')
    delivery = config.delivery
    if delivery.source_address and not is_ip(delivery.source_address):
        complain(("delivery", "source_address"), "[delivery] source_address: write an IP address of this machine")
    if delivery.first_retry_s > delivery.retry_ceiling_s:
        complain(
            ("delivery", "first_retry_s"),
            "[delivery] first_retry_s is more than retry_ceiling_s, the longest interval",
            also=("retry_ceiling_s",),
        )


def _judge_listeners(config: Config, complain: Complain) -> None:
    seen: set[tuple[str, int]] = set()
    for index, listener in enumerate(config.listener):
        table = ("listener", f"#{index}")
        if not is_ip(listener.address):
            complain((*table, "address"), f'[[listener]] address: "{listener.address}" is no IP address')
        if listener.port and (listener.address, listener.port) in seen:
            complain((*table, "port"), f"[[listener]] {listener.address} port {listener.port} is listed twice")
        seen.add((listener.address, listener.port))
    if not config.listener:
        complain(("listener",), "there is no [[listener]]: nothing could reach this server")


def _judge_route(route: RouteSettings, table: tuple[str, ...], complain: Complain) -> None:
    if not route.domain:
        complain(table, '[[route]] needs a domain; "*" is every domain that is not local')
    elif route.domain != "*" and not is_domain(route.domain):
        complain((*table, "domain"), f'[[route]] domain: "{route.domain}" is no domain name')
    if bool(route.host) == route.discard:
        complain(table, "[[route]] needs a host, or else discard = true")
    elif route.host and not is_ip(route.host) and not is_domain(route.host):
        complain((*table, "host"), f'[[route]] host: "{route.host}" is neither a host name nor an IP address')
    if bool(route.username) != bool(route.password_file):
        given = "username" if route.username else "password_file"
        complain(
            (*table, given),
            "[[route]] username and password_file go together: give both, or neither",
            also=("username", "password_file"),
        )
    elif route.username and route.tls in ("none", "opportunistic"):
        complain(
            (*table, "tls"),
            '[[route]] tls: a password needs "verified" or "implicit" (or "required", which trusts any certificate)',
        )


def _judge_twice_routed(config: Config, complain: Complain) -> None:
    seen: set[str] = set()
    for index, route in enumerate(config.route):
        domain = to_a_labels(route.domain) if is_domain(route.domain) else route.domain
        if domain and domain in seen:
            complain(("route", f"#{index}", "domain"), f'[[route]] domain: "{route.domain}" has a route already')
        seen.add(domain)


def is_domain(text: str) -> bool:
    """Whether it is a domain name, with U-labels or A-labels."""
    try:
        to_a_labels(text)
    except AddressError:
        return False
    return True
