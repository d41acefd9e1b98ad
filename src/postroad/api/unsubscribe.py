"""The page and the one click by which somebody leaves a list (RFC 8058).

GET only shows a button: programs that look at links in mail must not unsubscribe anybody. POST does it, with the body
`List-Unsubscribe=One-Click` that mail programs send, or from the button. Nothing of the token is shown but the list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from postroad.message.unsubscribe import Leaving, Unsubscriber

MAX_BODY_OCTETS = 10_000
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}}
button{{font:inherit;padding:.6rem 1.2rem;border-radius:.4rem;border:1px solid;cursor:pointer}}
@media (prefers-color-scheme:dark){{body{{background:#14171a;color:#e8eaed}}}}</style></head>
<body><main><h1>{title}</h1>{content}</main></body></html>
"""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class UnsubscribePage:
    """`left` is told who leaves; completes when that is kept."""

    def __init__(self, unsubscriber: Unsubscriber, left: Callable[[Leaving], Awaitable[None]]) -> None:
        self._unsubscriber = unsubscriber
        self._left = left

    async def show(self, request: Request) -> Response:
        """The page with the button."""
        leaving = self._unsubscriber.read(request.path_params["token"])
        if leaving is None:
            return _page("This link is not valid", "<p>It may have been cut short: copy it whole.</p>", 404)
        content = (
            f"<p>You will get no more mail of the list <b>{escape(_name(leaving))}</b>.</p>"
            '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
            "<button>Unsubscribe</button></form>"
        )
        return _page("Unsubscribe?", content)

    async def leave(self, request: Request) -> Response:
        """The one click."""
        leaving = self._unsubscriber.read(request.path_params["token"])
        if leaving is None:
            return _page("This link is not valid", "<p>It may have been cut short: copy it whole.</p>", 404)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_OCTETS:
                return _page("That is too much", "<p>Nothing was changed.</p>", 413)
        if b"One-Click" not in body:
            return _page("Nothing was changed", "<p>Open the link and press the button.</p>", 400)
        try:
            await self._left(leaving)
        except Exception:
            return _page("It did not work just now", "<p>Please try again in a few minutes.</p>", 503)
        return _page("You are unsubscribed", f"<p>No more mail of <b>{escape(_name(leaving))}</b> will be sent.</p>")


def _name(leaving: Leaving) -> str:
    return leaving.scope.removeprefix("list:")


def _page(title: str, content: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=escape(title), content=content), status_code=status, headers=HEADERS)
