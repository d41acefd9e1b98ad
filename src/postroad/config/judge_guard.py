"""What the settings of the door show together."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from postroad.config.values import Config
from postroad.smtp.address import AddressError, to_a_labels

Say = Callable[[tuple[str, ...], str], None]
_LISTINGS = ipaddress.IPv4Network("127.0.0.0/8")


def judge_guard(config: Config, complain: Say) -> None:
    """Report networks, zones and domains that cannot be."""
    for text in config.door.exempt:
        if _network(text) is None:
            complain(("door", "exempt"), f'[door] exempt: "{text}" is neither an address nor a network')
    for key, domains in (
        ("known_hosts", config.greylist.known_hosts),
        ("known_senders", config.greylist.known_senders),
    ):
        for domain in domains:
            if _canonical(domain) is None:
                complain(("greylist", key), f'[greylist] {key}: "{domain}" is no domain name')
    for index, one in enumerate(config.block_list):
        table = ("block_list", f"#{index}")
        if not one.zone:
            complain(table, "[[block_list]] needs a zone")
        elif _canonical(one.zone.strip(".")) is None:
            complain((*table, "zone"), f'[[block_list]] zone: "{one.zone}" is no domain name')
        for text in one.answers:
            network = _network(text)
            if not isinstance(network, ipaddress.IPv4Network) or not network.subnet_of(_LISTINGS):
                complain(
                    (*table, "answers"),
                    f'[[block_list]] answers: "{text}" is no address or network in 127.0.0.0/8, where lists answer',
                )
    _judge_call_forward(config, complain)


def _judge_call_forward(config: Config, complain: Say) -> None:
    routed = {_canonical(route.domain) for route in config.route}
    for domain in config.call_forward.domains:
        canonical = _canonical(domain)
        if canonical is None:
            complain(("call_forward", "domains"), f'[call_forward] domains: "{domain}" is no domain name')
        elif canonical not in routed:
            complain(
                ("call_forward", "domains"),
                f'[call_forward] domains: "{domain}" has no [[route]], so there is no next host to ask',
            )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _canonical(domain: str) -> str | None:
    try:
        return to_a_labels(domain)
    except AddressError:
        return None
