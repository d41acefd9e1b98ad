"""Delivery to a web service: a message is one POST, and the status of the answer is its fate.

    Postroad-Id: 01h3mz7q8r2xk        of the message; the same when it is sent again
    Postroad-Signature: t=1790000000,v1=9c1e…

2xx: delivered. 410: the mailbox is gone, it bounces. Another 4xx is tried again or bounces, as is configured; all else
is tried again. The raw form has Return-Path and Delivered-To above the message, so that the signature covers them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from postroad.events import escaped
from postroad.message.envelope import format_queue_id
from postroad.message.headers import delivered_to_header, return_path_header
from postroad.message.web_form import as_json, signature, told
from postroad.net.web_post import WebAnswer, WebPoster, WebPostError
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Queued, SpooledMessage

RECIPIENTS_AT_ONCE = 50
MAX_TOLD_CHARS = 200
_PASSING = (408, 425, 429)
"""4xx that say nothing of the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """`secret` signs requests; empty: they are not signed. `bounces_refused`: whether a 4xx is final."""

    form: Literal["raw", "json", "json_raw"] = "raw"
    secret: bytes = field(default=b"", repr=False)
    bounces_refused: bool = False
    message_octets: int = 36_700_160
    at_once: int = 10


class WebhookDelivery:
    """A transport. `wall`: the clock of signatures."""

    def __init__(self, settings: WebhookSettings, poster: WebPoster, wall: Callable[[], float]) -> None:
        self._settings = settings
        self._poster = poster
        self._wall = wall
        self._room = asyncio.Semaphore(settings.at_once)

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        """Send it once for every RECIPIENTS_AT_ONCE recipients, who share a fate; the fate of each, in order."""
        most = self._settings.message_octets
        if len(message.body) > most:
            return [reply(552, f"The message has {len(message.body)} octets, and {most} are taken", "5.3.4")] * len(
                queued
            )
        said: list[Reply] = []
        for start in range(0, len(queued), RECIPIENTS_AT_ONCE):
            batch = queued[start : start + RECIPIENTS_AT_ONCE]
            async with self._room:
                said += [await self._post(message, batch)] * len(batch)
        return said

    async def _post(self, message: SpooledMessage, batch: Sequence[Queued]) -> Reply:
        settings = self._settings
        if settings.form == "raw":
            content = return_path_header(message.envelope.reverse_path)
            content += b"".join([delivered_to_header(one.recipient.address) for one in batch]) + message.body
            media_type = "message/rfc822"
        else:
            content = await asyncio.to_thread(_as_json, message, batch, settings.form == "json_raw")
            media_type = "application/json"
        headers = {"Content-Type": media_type, "Postroad-Id": format_queue_id(message.id)}
        if settings.secret:
            headers["Postroad-Signature"] = signature(settings.secret, content, self._wall())
        try:
            answer = await self._poster.post(content, headers)
        except WebPostError as error:
            return reply(451, f"The web service did not take it: {error}", "4.4.1")
        return self._fate(answer)

    def _fate(self, answer: WebAnswer) -> Reply:
        status = answer.status
        where = f"The web service at {self._poster.host}"
        words = escaped(" ".join(answer.text.split())[:MAX_TOLD_CHARS])
        what = f": {words}" if words else ""
        if 200 <= status < 300:
            return reply(250, f"Delivered to {self._poster.host} (HTTP {status})", "2.0.0")
        if status == 410:
            return reply(550, f"{where} says that this mailbox is gone (HTTP 410){what}", "5.1.1")
        if 300 <= status < 400:
            return reply(451, f"{where} sends elsewhere (HTTP {status}), which is not followed", "4.3.5")
        if 400 <= status < 500 and status not in _PASSING and self._settings.bounces_refused:
            return reply(554, f"{where} refused it (HTTP {status}){what}", "5.3.0")
        wait = "" if answer.retry_after_s is None else f", try again in {answer.retry_after_s} seconds"
        return reply(451, f"{where} did not take it now (HTTP {status}{wait}){what}", "4.3.0")


def _as_json(message: SpooledMessage, batch: Sequence[Queued], is_raw: bool) -> bytes:
    trace = message.trace
    return as_json(
        told(
            [str(one.recipient.address) for one in batch],
            str(message.envelope.reverse_path),
            id=format_queue_id(message.id),
            received_at=datetime.fromtimestamp(message.received_at, UTC).isoformat(timespec="seconds"),
            client={"address": trace.peer, "hello": trace.helo, "user": trace.user},
        ),
        message.body,
        is_raw=is_raw,
    )
