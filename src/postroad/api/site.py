"""The web listener as an ASGI application: metrics, health, unsubscribing.

Whoever is not in the operators' networks hears of health only whether all is well, and nothing of metrics.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from postroad.api.health import Health, told
from postroad.api.unsubscribe import UnsubscribePage

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class SiteParts:
    """What the application shows. `metrics` gives the text that Prometheus reads."""

    health: Health
    metrics: Callable[[], Awaitable[bytes]]
    operators: Sequence[Network]
    unsubscribing: UnsubscribePage | None = None


def application(parts: SiteParts) -> Starlette:
    """The application."""

    def is_operator(request: Request) -> bool:
        if request.client is None:
            return False
        try:
            address = ipaddress.ip_address(request.client.host.removeprefix("::ffff:"))
        except ValueError:
            return False
        return any(address.version == network.version and address in network for network in parts.operators)

    async def alive(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(request: Request) -> Response:
        status, answer = told(await parts.health.findings(), is_operator=is_operator(request))
        return JSONResponse(answer, status)

    async def metrics(request: Request) -> Response:
        if not is_operator(request):
            return PlainTextResponse("metrics are for the networks of [http] operators\n", 403)
        return Response(await parts.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes = [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]
    if parts.unsubscribing is not None:
        page = parts.unsubscribing
        routes += [
            Route("/unsubscribe/{token:str}", page.show, methods=["GET"]),
            Route("/unsubscribe/{token:str}", page.leave, methods=["POST"]),
        ]
    return Starlette(routes=routes)
