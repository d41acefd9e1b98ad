"""Delivery to a web service: what is posted, what its answers mean, and whom we do not speak to."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
import trustme

from deliver.messages import TEXT, envelope, message, queue
from net.scripted import scripted
from postroad.deliver.webhook import RECIPIENTS_AT_ONCE, WebhookDelivery, WebhookSettings
from postroad.net.web_post import WebPoster
from postroad.road.policy import is_public
from postroad.smtp.reply import Reply
from postroad.store.spool import SpooledMessage

NOW = 1_790_000_000.0
BOTH = message(envelope("ann@us.test", "ben@us.test"))
ONE = message(envelope("ann@us.test"))


@dataclass
class Service:
    """A web service that answers each request the same."""

    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        async with scripted(self._serve) as port:
            yield port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((first, headers, body))
        writer.write(self.answer)
        await writer.drain()
        if b"Content-Length" not in self.answer:
            await reader.read()


async def anywhere(host: str) -> Sequence[str]:
    return ["127.0.0.1"]


def deliver(
    service: Service,
    of: SpooledMessage = ONE,
    settings: WebhookSettings | None = None,
    *,
    is_guarded: bool = False,
    timeout_s: float = 5.0,
    host: str = "hook.test",
) -> list[Reply]:
    async def main() -> list[Reply]:
        async with service.listening() as port:
            poster = WebPoster(
                f"http://{host}:{port}/take?me=1",
                is_allowed=is_public if is_guarded else lambda address: True,
                timeout_s=timeout_s,
                addresses=anywhere,
            )
            transport = WebhookDelivery(settings or WebhookSettings(), poster, lambda: NOW)
            return list(await transport.deliver(of, queue(of)))

    return asyncio.run(main())


def answering(status: int, body: bytes = b"", more: str = "") -> Service:
    head = f"HTTP/1.1 {status} x\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode()
    return Service(head + body)


def test_the_raw_message_is_posted_once_for_all_recipients_with_its_trace() -> None:
    service = Service()
    said = deliver(service, BOTH)
    assert [one.code for one in said] == [250, 250]
    ((first, headers, body),) = service.requests
    assert first == "POST /take?me=1 HTTP/1.1"
    assert headers["content-type"] == "message/rfc822"
    assert headers["postroad-id"] == "0000000000007"
    assert headers["host"].startswith("hook.test:")
    trace = b"Return-Path: <sender@example.org>\r\nDelivered-To: ann@us.test\r\nDelivered-To: ben@us.test\r\n"
    assert body == trace + TEXT
    assert "postroad-signature" not in headers


@pytest.mark.parametrize("form", ["raw", "json", "json_raw"])
def test_a_request_is_signed_over_its_time_and_body(form: str) -> None:
    service = Service()
    deliver(service, ONE, WebhookSettings(form=form, secret=b"key"))  # type: ignore[arg-type]
    ((_, headers, body),) = service.requests
    expected = hmac.new(b"key", b"1790000000." + body, hashlib.sha256).hexdigest()
    assert headers["postroad-signature"] == f"t=1790000000,v1={expected}"


def test_as_json_it_has_envelope_client_and_parts() -> None:
    service = Service()
    deliver(service, BOTH, WebhookSettings(form="json"))
    got = json.loads(service.requests[0][2])
    assert service.requests[0][1]["content-type"] == "application/json"
    assert got["envelope"] == {"from": "sender@example.org", "to": ["ann@us.test", "ben@us.test"]}
    assert got["client"] == {"address": "192.0.2.1", "hello": "client", "user": None}
    assert got["received_at"] == "1970-01-01T00:16:40+00:00"
    assert got["text"] == "the body\n" and got["attachments"] == []


@pytest.mark.parametrize(
    ("status", "when_retry", "when_bounce"),
    [
        (200, 250, 250),
        (204, 250, 250),
        (301, 451, 451),
        (308, 451, 451),
        (400, 451, 554),
        (404, 451, 554),
        (408, 451, 451),
        (410, 550, 550),
        (425, 451, 451),
        (429, 451, 451),
        (500, 451, 451),
        (503, 451, 451),
    ],
)
def test_the_status_is_the_fate(status: int, when_retry: int, when_bounce: int) -> None:
    (said,) = deliver(answering(status, b"because\n"))
    assert said.code == when_retry
    (said,) = deliver(answering(status, b"because\n"), ONE, WebhookSettings(bounces_refused=True))
    assert said.code == when_bounce
    assert said.code == 250 or f"HTTP {status}" in str(said)


def test_its_words_are_told_and_are_harmless() -> None:
    (said,) = deliver(answering(410, b"no such\r\n\x1b[2Jticket"))
    assert str(said).endswith("says that this mailbox is gone (HTTP 410): no such \\x1b[2Jticket")
    (said,) = deliver(answering(429, b"", "Retry-After: 120\r\n"))
    assert "try again in 120 seconds" in str(said)


def test_a_redirect_is_not_followed() -> None:
    service = answering(302, b"", "Location: http://127.0.0.1/elsewhere\r\n")
    (said,) = deliver(service)
    assert said.code == 451 and len(service.requests) == 1


def test_h09_a_service_on_a_private_address_is_not_spoken_to_unless_allowed() -> None:
    for host in ("hook.test", "127.0.0.1"):
        service = Service()
        (said,) = deliver(service, is_guarded=True, host=host)
        assert said.code == 451 and "private addresses only" in str(said)
        assert service.requests == []


def test_a_service_that_says_nothing_has_its_time() -> None:
    (said,) = deliver(Service(b"HTTP/1.1 200 OK\r\n"), timeout_s=0.3)
    assert said.code == 451 and "gave no answer in 0.3 seconds" in str(said)


def test_h02_of_a_long_answer_the_beginning_is_read() -> None:
    (said,) = deliver(answering(500, b"x" * 10_000_000))
    assert said.code == 451 and len(str(said)) < 500


def test_a_service_that_is_not_there_or_is_none_is_tried_again() -> None:
    (said,) = deliver(Service(b"220 mail.test ESMTP\r\n"))
    assert said.code == 451
    poster = WebPoster("http://127.0.0.1:1/", is_allowed=lambda address: True, timeout_s=2.0)
    transport = WebhookDelivery(WebhookSettings(), poster, lambda: NOW)
    (said,) = asyncio.run(transport.deliver(ONE, queue(ONE)))
    assert said.code == 451 and "refused" in str(said)


def test_a_message_too_large_for_it_bounces_at_once() -> None:
    service = Service()
    (said,) = deliver(service, ONE, WebhookSettings(message_octets=10))
    assert str(said).startswith("552 5.3.4") and service.requests == []


def test_many_recipients_are_told_in_parts() -> None:
    many = message(envelope(*[f"u{number}@us.test" for number in range(RECIPIENTS_AT_ONCE + 1)]))
    service = Service()
    assert [one.code for one in deliver(service, many)] == [250] * (RECIPIENTS_AT_ONCE + 1)
    assert len(service.requests) == 2


def test_a_certificate_must_name_the_host() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hook.test").configure_cert(context)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    async def main(host: str) -> Reply:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            poster = WebPoster(
                f"https://{host}:{port}/", is_allowed=lambda _: True, timeout_s=5.0, addresses=anywhere, context=ours
            )
            (said,) = await WebhookDelivery(WebhookSettings(), poster, lambda: NOW).deliver(ONE, queue(ONE))
        return said

    assert asyncio.run(main("hook.test")).code == 250
    refused = asyncio.run(main("other.test"))
    assert refused.code == 451 and "certificate" in str(refused)
