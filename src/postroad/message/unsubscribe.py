"""One-click unsubscribing (RFC 8058): the headers of a message, and the token that says who leaves which list.

The token is encrypted, so that an address stands in no log of a web server, and bound to the server's key, so that
nobody can make one for somebody else. It does not end: a message may be read years later. Deterministic and pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

MAX_TOKEN_CHARS = 2000
MAILBOX = "unsubscribe"
"""Local part of the mailto form, at the return domain; the token is the subject."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """`address` wants no more mail of `scope` (`list:offers@shop.example`)."""

    address: str
    scope: str


@dataclass(frozen=True, slots=True)
class Unsubscriber:
    """Makes and reads tokens with the server's secret. `url`: where the web listener is reached; `returns`: the return
    domain, or nothing."""

    secret: bytes
    url: str
    returns: str = ""

    def token(self, leaving: Leaving) -> str:
        """The token of one recipient of one list."""
        text = json.dumps([leaving.address, leaving.scope], ensure_ascii=True).encode()
        return base64.urlsafe_b64encode(self._cipher().encrypt(text, None)).decode().rstrip("=")

    def read(self, token: str) -> Leaving | None:
        """Who leaves what; None for a token that is not ours."""
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            return None
        try:
            octets = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            address, scope = json.loads(self._cipher().decrypt(octets, None))
        except (binascii.Error, ValueError, InvalidTag):
            return None
        return Leaving(str(address), str(scope))

    def headers(self, leaving: Leaving) -> bytes:
        """List-Unsubscribe and List-Unsubscribe-Post for that recipient's copy."""
        token = self.token(leaving)
        mailto = f",\r\n <mailto:{MAILBOX}@{self.returns}?subject={token}>" if self.returns else ""
        return (
            f"List-Unsubscribe: <{self.url.rstrip('/')}/unsubscribe/{token}>{mailto}\r\n"
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        ).encode()

    def _cipher(self) -> AESSIV:
        return AESSIV(hashlib.sha512(b"unsubscribe " + self.secret).digest())


def list_scope(name: str, sender_domain: str) -> str:
    """The scope of a list: names of different senders are apart."""
    return f"list:{name.lower()}@{sender_domain}"
