"""Users who come with a token of an authorization server (OAUTHBEARER, RFC 7628): the server that gave it is asked.

Token introspection (RFC 7662) over HTTPS: one question a token, whose answer is remembered for a short while by whoever
asks. Nothing of a token is logged. Used by compose/receiving.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx

MAX_ANSWER_OCTETS = 100_000


class TokenTrouble(Exception):
    """The authorization server gave no answer, or none that makes sense: try again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntrospectionSettings:
    """`claims`: what in an answer names the user, any of them. `scope`: what a token must be good for, or nothing."""

    url: str
    client_id: str
    client_secret: str
    claims: tuple[str, ...] = ("username", "email", "sub")
    scope: str = ""
    timeout_s: float = 10.0


class Introspection:
    """Asks the authorization server about tokens. `wall`: the clock, for their end."""

    def __init__(self, settings: IntrospectionSettings, wall: Callable[[], float]) -> None:
        self._settings = settings
        self._wall = wall
        self._client = httpx.AsyncClient(
            timeout=settings.timeout_s,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=5),
        )

    async def names(self, token: str) -> frozenset[str]:
        """Whom a token stands for, in small letters; nobody where it is not valid now. Raises TokenTrouble."""
        settings = self._settings
        try:
            response = await self._client.post(
                settings.url,
                data={"token": token, "token_type_hint": "access_token"},
                auth=(settings.client_id, settings.client_secret),
                headers={"Accept": "application/json"},
            )
        except httpx.HTTPError as error:
            raise TokenTrouble(f"{settings.url}: {type(error).__name__}: {error}") from None
        if response.status_code != 200 or len(response.content) > MAX_ANSWER_OCTETS:
            raise TokenTrouble(f"{settings.url} answered {response.status_code}")
        try:
            told = json.loads(response.content)
        except ValueError:
            told = None
        if not isinstance(told, dict) or not isinstance(told.get("active"), bool):
            raise TokenTrouble(f"{settings.url} answered what is no introspection (RFC 7662)")
        ends = told.get("exp")
        is_over = isinstance(ends, int | float) and not isinstance(ends, bool) and ends <= self._wall()
        if not told["active"] or is_over or not self._is_in_scope(told.get("scope")):
            return frozenset()
        named = (told.get(claim) for claim in settings.claims)
        return frozenset(name.lower() for name in named if isinstance(name, str) and name)

    def _is_in_scope(self, scope: object) -> bool:
        wanted = self._settings.scope
        return not wanted or (isinstance(scope, str) and wanted in scope.split())

    async def close(self) -> None:
        """Ask no more."""
        await self._client.aclose()
