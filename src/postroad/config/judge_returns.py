"""What is wrong with how returns, unsubscribing and the web listener are configured."""

from __future__ import annotations

import ipaddress

from postroad.config.complain import Complain
from postroad.config.places import is_ip
from postroad.config.values import Config
from postroad.smtp.address import AddressError, to_a_labels


def judge_returns(config: Config, complain: Complain) -> None:
    domain = config.returns.domain
    if domain and not _is_domain(domain):
        complain(("returns", "domain"), f'[returns] domain: "{domain}" is no domain name')
    elif domain and domain.lower() in {one.lower() for one in config.domains.local}:
        complain(
            ("returns", "domain"),
            f"[returns] domain: {domain} has mailboxes; take one for bounces alone, such as bounces.{domain}",
        )
    url = config.unsubscribe.url
    if url and not url.startswith(("https://", "http://")):
        complain(("unsubscribe", "url"), "[unsubscribe] url: write https:// and the name of the web listener")
    if url and not config.http.enabled:
        complain(("unsubscribe", "url"), "[unsubscribe] url leads to the web listener: set [http] enabled = true")
    if not is_ip(config.http.address):
        complain(("http", "address"), "[http] address: write an IP address of this machine")
    for network in config.http.operators:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            complain(("http", "operators"), f'[http] operators: "{network}" is no network; write 192.0.2.0/24')
    if config.oauth.url and not config.oauth.url.startswith(("https://", "http://127.0.0.1", "http://[::1]")):
        complain(("oauth", "url"), "[oauth] url: write an https address: tokens must not be seen on their way")


def _is_domain(text: str) -> bool:
    try:
        return "." in to_a_labels(text)
    except AddressError:
        return False
