"""A whole server sends where a domain's policy is met, waits where it is not, and says so (T-01, T-02)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from cli.calls import in_thread
from deliver.peers import Host, listening
from deliver.secure_peers import AUTHORITY, MX, SecureHost, certificate
from deliver.test_tls_way import own
from dns_server import DnsServer
from peers.server import Server
from peers.test_suppression import ANN, submit
from postroad.message.envelope import format_queue_id
from postroad.message.mta_sts import KeptPolicy
from postroad.store.tls_book import TlsBook

POLICY = f"version: STSv1\nmode: enforce\nmx: {MX}\nmax_age: 86400\n".encode()


@contextmanager
def serving(host: Host, **settings: dict[str, object]) -> Iterator[tuple[Server, DnsServer, int]]:
    """A server whose book has a policy of example.net, the DNS that announces it, and the port of every mail host."""
    zone = {
        "example.net": {"MX": [(10, MX)]},
        MX: {"A": ["127.0.0.1"]},
        "_mta-sts.example.net": {"TXT": ["v=STSv1; id=1;"]},
    }
    with in_thread(listening(host)) as port, DnsServer(zone) as dns:
        delivery = {"port": port, "allow_private": True, "first_retry_s": 1.0}
        with Server({"dns": {"nameserver": dns.address}, "delivery": delivery, **settings}) as server:
            now = time.time()
            with TlsBook(server.state / "tls.db") as book:
                book.keep(
                    KeptPolicy(
                        domain="example.net",
                        record_id="1",
                        content=POLICY,
                        fetched_at=now - 60,
                        expires_at=now + 86_340,
                    )
                )
            server.add_user(ANN)
            yield server, dns, port


def test_t01_mail_waits_with_its_reason_and_goes_when_the_host_meets_the_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = SecureHost(tls=certificate("another.test"))
    with AUTHORITY.cert_pem.tempfile() as authority:
        monkeypatch.setenv("SSL_CERT_FILE", authority)
        with serving(host) as (server, _, _):
            assert submit(server, "bob@example.net") == {}
            server.wait(lambda: "tls.policy_failed" in server.log(), "event")
            assert "certificate-host-mismatch" in server.log()
            (entry,) = server.queue()
            shown = server.run("queue", "show", format_queue_id(entry.id)).stdout
            assert f"the MTA-STS policy of example.net is not met by {MX}" in shown
            assert host.taken == []
            host.tls = certificate()
            server.wait(lambda: len(host.taken) == 1, "delivery")
            server.wait(lambda: "example.net  1 well" in server.run("tls", "report").stdout, "count")


def test_t02_a_reload_takes_up_that_tlsa_records_are_heeded() -> None:
    leaf = certificate(authority=trustme.CA())
    host = SecureHost(tls=leaf)
    with serving(host, mta_sts={"mode": "off"}) as (server, dns, port):
        name = f"_{port}._tcp.{MX}"
        dns.zone[name] = {"TLSA": [own(certificate())]}
        dns.signed = {"example.net", MX, name}
        assert submit(server, "bob@example.net") == {}
        server.wait(lambda: len(host.taken) == 1, "delivery: DANE is off")
        server.configure(dane={"enabled": True})
        server.reload()
        server.wait(lambda: "config.reloaded" in server.log(), "reload")
        assert submit(server, "bob@example.net") == {}
        server.wait(lambda: "tls.policy_failed" in server.log(), "event")
        assert len(host.taken) == 1
        told = server.run("tls", "show", "example.net", "--connect", "--json", check=False)
        assert told.returncode == 1
        assert json.loads(told.stdout)["hosts"][0]["by"] == "tlsa"
        dns.zone[name] = {"TLSA": [own(leaf)]}
        server.reload()
        server.wait(lambda: len(host.taken) == 2, "delivery to the host that DNS names")
