"""The web listener of a real server: metrics of all workers, health with reasons, and unsubscribing by one click."""

from __future__ import annotations

import json
import os
import re
import signal
import smtplib
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from peers.processes import free_ports
from peers.server import DOMAIN, PASSWORD, Server

ANN = f"ann@{DOMAIN}"


def get(url: str, data: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, data=data, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def server_with_web(base: Path, **settings: object) -> tuple[Server, str]:
    (port,) = free_ports(1)
    web = {"http": {"enabled": True, "port": port, **settings.pop("http", {})}}  # type: ignore[dict-item]
    return Server(settings={**web, **settings}, base=base, workers=2), f"http://127.0.0.1:{port}"  # type: ignore[dict-item]


def send(server: Server, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=30) as client:
        client.sendmail("bob@example.net", [recipient], b"From: bob@example.net\r\nSubject: hello\r\n\r\nhello\r\n")


def value(text: str, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.peer
def test_metrics_are_those_of_all_workers_and_outlive_a_worker(tmp_path: Path) -> None:
    server, web = server_with_web(tmp_path, domains={"mailboxes": "any"})
    with server:
        for _ in range(10):
            send(server, ANN)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(server, "x@elsewhere.example")
        server.wait_for_messages("ann", 10)
        delivered = 'postroad_deliveries_total{meaning="accepted",outcome="delivered"}'
        server.wait(lambda: value(get(f"{web}/metrics")[1], delivered) == 10, "deliveries counted")
        text = get(f"{web}/metrics")[1]
        assert value(text, 'postroad_messages_accepted_total{via="mx"}') == 10
        assert value(text, 'postroad_refusals_total{code="550"}') == 1
        assert value(text, "postroad_commit_seconds_count") == 10
        assert value(text, "postroad_disk_free_octets") > 0 and "postroad_queue_messages" in text
        pids = re.findall(r"worker.serving worker=\d pid=(\d+)", server.log())
        os.kill(int(pids[0]), signal.SIGKILL)
        server.wait(lambda: server.log().count("worker.serving worker=") == 4, "the worker's return")
        send(server, ANN)
        server.wait_for_messages("ann", 11)
        assert value(get(f"{web}/metrics")[1], 'postroad_messages_accepted_total{via="mx"}') == 11


@pytest.mark.peer
def test_health_says_what_is_wrong_to_operators_and_only_whether_to_others(tmp_path: Path) -> None:
    server, web = server_with_web(tmp_path)
    with server:
        assert get(f"{web}/healthz") == (200, "alive\n")
        server.wait(lambda: '"workers":{"ok":true' in get(f"{web}/readyz")[1], "both workers")
        status, text = get(f"{web}/readyz")
        checks = json.loads(text)["checks"]
        assert set(checks) == {"workers", "disk", "spool", "certificate", "dns"}
        assert status == 200 or not checks["dns"]["ok"], checks
    server, web = server_with_web(tmp_path, disk={"least_free_octets": 1 << 60}, http={"operators": ["192.0.2.0/24"]})
    with server:
        assert get(f"{web}/readyz") == (503, '{"status":"not ready"}')
        assert get(f"{web}/metrics")[0] == 403
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            send(server, ANN)
        assert refused.value.smtp_code == 452


@pytest.mark.peer
def test_one_click_takes_somebody_off_a_list_and_looking_at_the_link_does_not(tmp_path: Path) -> None:
    server, web = server_with_web(tmp_path, domains={"mailboxes": "any"}, route=[{"domain": "*", "discard": True}])
    server.settings = {**server.settings, "unsubscribe": {"url": web}}
    with server:
        server.add_user(ANN)
        message = f"From: {ANN}\nX-Postroad-List: offers\nSubject: x\n\nhi\n"
        sent = submit(server, message, f"bob@{DOMAIN}")
        assert sent == {}
        (kept,) = server.wait_for_messages("bob")
        assert kept["X-Postroad-List"] is None and kept["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        link = re.search(r"<(http[^>]+)>", kept["List-Unsubscribe"])
        assert link is not None
        status, page = get(link[1])
        assert status == 200 and "offers" in page and "bob" not in page
        assert submit(server, message, f"bob@{DOMAIN}") == {}, "looking changes nothing"
        assert get(link[1][:-2])[0] == 404
        assert get(link[1], b"List-Unsubscribe=One-Click")[0] == 200
        refused = submit(server, message, f"bob@{DOMAIN}")
        assert refused and "wants no mail from you" in str(refused)
        assert submit(server, message.replace("offers", "news"), f"bob@{DOMAIN}") == {}


def submit(server: Server, message: str, recipient: str) -> object:
    with smtplib.SMTP("127.0.0.1", server.submission_port, timeout=30) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login(ANN, PASSWORD)
        try:
            return client.sendmail(ANN, [recipient], message)
        except smtplib.SMTPException as refused:
            return refused
