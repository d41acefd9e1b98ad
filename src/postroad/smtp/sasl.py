"""SASL over SMTP, both sides, as exchanges of values (RFC 4954): PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC 7677);
on the server's side also OAUTHBEARER (RFC 7628) and XOAUTH2.

    step = ServerExchange("SCRAM-SHA-256", nonce=nonce).start(initial)
    step = exchange.receive_line(line)           # for each line of the client, until Succeeded, Failed
    step = exchange.keys(keys)                   # the answer to ScramKeysWanted

Knows no accounts: passwords are handed on (`PasswordOffered`), SCRAM keys asked for (`ScramKeysWanted`). Nonces come
from outside. Nothing a peer sends raises on the server side; on the client side it raises SaslError. For an unknown
user the caller gives keys that no password fits, the same ones each time, so that the exchange does not tell.
Used by `server.ServerSession` and by net/dialogue.py.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field

import scramp  # type: ignore[import-untyped]

from postroad.smtp.reply import Reply, reply

SCRAM = "SCRAM-SHA-256"
PREFERENCE = (SCRAM, "PLAIN", "LOGIN")
"""Strongest first."""
BEARER = ("OAUTHBEARER", "XOAUTH2")
"""A token of an authorization server instead of a password."""
MAX_TOKEN_OCTETS = 8192
MAX_FIELD_OCTETS = 1024
"""Of a user name, an authorization identity or a password; RFC 4616 §2 asks for 255 characters at least."""
MIN_ITERATIONS = 4096  # RFC 7677 §4
MAX_ITERATIONS = 1_000_000
"""A server that asks for more rounds is after our processor, not our password."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_CANCELLED = reply(501, "Authentication cancelled", "5.7.0")
_BAD_BASE64 = reply(501, "The response is not base64", "5.5.2")
_MALFORMED = reply(501, "The response is malformed", "5.5.2")
_WRONG = reply(535, "Authentication credentials invalid", "5.7.8")
_UNKNOWN = reply(504, "Mechanism not supported", "5.5.4")


class SaslError(Exception):
    """The server's part of an exchange is not what the mechanism says, or it failed to prove itself."""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What is stored of a password for SCRAM-SHA-256 (RFC 5802 §3): enough to check it, not to use it elsewhere."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def make_scram_keys(password: str, salt: bytes, iterations: int = MIN_ITERATIONS) -> ScramKeys:
    """The keys of a password. `salt`: 12 octets at least. Raises ValueError where SCRAM cannot use the values."""
    try:
        _, stored_key, server_key, _ = scramp.ScramMechanism(SCRAM).make_auth_info(password, iterations, salt)
    except scramp.ScramException as error:
        raise ValueError(f"no SCRAM keys can be made: {error}") from None
    return ScramKeys(salt, iterations, stored_key, server_key)


# The server's side ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Challenge:
    """Say 334 and this."""

    data: bytes = b""

    def encoded(self) -> bytes:
        """The data in base64, as it goes after `334 `."""
        return b64encode(self.data)


@dataclass(frozen=True, slots=True)
class PasswordOffered:
    """The exchange is over for SASL; whether the password is right is the caller's to say."""

    username: str
    authzid: str
    password: str = field(repr=False)
    is_token: bool = False
    """It is a token of an authorization server, not a password."""


@dataclass(frozen=True, slots=True)
class ScramKeysWanted:
    """Answer with `ServerExchange.keys`."""

    username: str
    authzid: str = ""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The client has proved itself; say 235."""

    username: str
    authzid: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Say `reply`; the exchange is over. `username` as far as it was told."""

    reply: Reply
    username: str = ""


ServerStep = Challenge | PasswordOffered | ScramKeysWanted | Succeeded | Failed


class ServerExchange:
    """One AUTH command, server side. `nonce`: fresh for each exchange, printable ASCII without comma."""

    def __init__(self, mechanism: str, *, nonce: str) -> None:
        self.mechanism = mechanism.upper()
        self._conversation: _Conversation
        if self.mechanism == SCRAM:
            self._conversation = _Scram(nonce)
        elif self.mechanism == "LOGIN":
            self._conversation = _Login()
        elif self.mechanism == "PLAIN":
            self._conversation = _Plain()
        elif self.mechanism in BEARER:
            self._conversation = _Bearer()
        else:
            self._conversation = _Nothing()

    @property
    def username(self) -> str:
        """Who the client says it is, once it has said so."""
        return self._conversation.username

    def start(self, initial: bytes | None) -> ServerStep:
        """The first step; `initial`: the initial response decoded, None where the client sent none."""
        return self._conversation.challenge() if initial is None else self._conversation.take(initial)

    def receive_line(self, line: bytes) -> ServerStep:
        """The step that the client's line (base64 or `*`, without CRLF) leads to."""
        if line == b"*":
            return Failed(_CANCELLED, self._conversation.username)
        try:
            return self._conversation.take(b64decode(line, validate=True))
        except (binascii.Error, ValueError):
            return Failed(_BAD_BASE64, self._conversation.username)

    def keys(self, keys: ScramKeys | None) -> ServerStep:
        """The step after the keys of the user asked for; None refuses at once, which tells that there is no such."""
        if not isinstance(self._conversation, _Scram):
            return Failed(_MALFORMED)
        return self._conversation.take_keys(keys)


def start(mechanism: str, initial: bytes | None, *, nonce: str) -> tuple[ServerExchange, ServerStep]:
    """A new exchange and its first step."""
    exchange = ServerExchange(mechanism, nonce=nonce)
    return exchange, exchange.start(initial)


class _Conversation:
    username = ""

    def challenge(self) -> ServerStep:
        return Challenge()

    def take(self, response: bytes) -> ServerStep:
        raise NotImplementedError


class _Nothing(_Conversation):
    """A mechanism that is not known here."""

    def challenge(self) -> ServerStep:
        return Failed(_UNKNOWN)

    def take(self, response: bytes) -> ServerStep:
        return Failed(_UNKNOWN)


class _Plain(_Conversation):
    def take(self, response: bytes) -> ServerStep:
        fields = response.split(b"\0")
        if len(fields) != 3:
            return Failed(_MALFORMED)
        texts = [_text(octets) for octets in fields]
        authzid, username, password = texts
        if authzid is None or not username or not password:
            return Failed(_MALFORMED)
        return PasswordOffered(username, authzid, password)


class _Login(_Conversation):
    """Never standardised; `Username:` and `Password:` are what old clients look for."""

    def challenge(self) -> ServerStep:
        return Challenge(b"Username:")

    def take(self, response: bytes) -> ServerStep:
        text = _text(response)
        if not text:
            return Failed(_MALFORMED, self.username)
        if self.username:
            return PasswordOffered(self.username, "", text)
        self.username = text
        return Challenge(b"Password:")


class _Bearer(_Conversation):
    """`n,a=user,^Ahost=…^Aauth=Bearer TOKEN^A^A` (RFC 7628 §3.1), or `user=USER^Aauth=Bearer TOKEN^A^A` of XOAUTH2."""

    def take(self, response: bytes) -> ServerStep:
        if len(response) > MAX_TOKEN_OCTETS:
            return Failed(_MALFORMED)
        try:
            first, *rest = response.decode("utf-8").split("\x01")
        except UnicodeDecodeError:
            return Failed(_MALFORMED)
        found = _GS2.fullmatch(first)
        named = _saslname(found["user"]) if found is not None else None
        values = dict(part.split("=", 1) for part in ((first, *rest) if found is None else rest) if "=" in part)
        username = named or values.get("user", "")
        kind, _, token = values.get("auth", "").partition(" ")
        if not username or len(username.encode()) > MAX_FIELD_OCTETS or "\0" in username:
            return Failed(_MALFORMED)
        if kind.lower() != "bearer" or _TOKEN.fullmatch(token.strip()) is None:
            return Failed(_MALFORMED, username)
        self.username = username
        return PasswordOffered(username, "", token.strip(), is_token=True)


_GS2 = re.compile(r"[ny],a=(?P<user>[^,\x00]+),")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def _saslname(text: str) -> str:
    """RFC 5801 §4: a comma and an equals sign are written as `=2C` and `=3D`."""
    return text.replace("=2C", ",").replace("=3D", "=")


class _Scram(_Conversation):
    def __init__(self, nonce: str) -> None:
        self._nonce = nonce
        self._first = ""
        self._server: scramp.core.ScramServer | None = None
        self._is_proved = False

    def take(self, response: bytes) -> ServerStep:
        if self._is_proved:
            # The client's empty line after the server's signature (RFC 4954 §4, RFC 5802 §5).
            return Failed(_MALFORMED, self.username) if response else Succeeded(self.username)
        try:
            text = response.decode("utf-8")
        except UnicodeDecodeError:
            return Failed(_MALFORMED, self.username)
        return self._take_first(text) if self._server is None else self._take_final(self._server, text)

    def _take_first(self, text: str) -> ServerStep:
        if self._first or len(text) > 4 * MAX_FIELD_OCTETS:
            return Failed(_MALFORMED, self.username)
        names: list[str] = []

        def note(name: str) -> tuple[bytes, bytes, bytes, int]:
            names.append(name)
            return bytes(16), b"", b"", MIN_ITERATIONS

        try:
            scramp.ScramMechanism(SCRAM).make_server(note, s_nonce=self._nonce).set_client_first(text)
        except _SCRAM_FAULTS:
            return Failed(_MALFORMED)
        self._first = text
        self.username = names[0]
        if len(self.username.encode("utf-8", "surrogatepass")) > MAX_FIELD_OCTETS:
            return Failed(_MALFORMED)
        return ScramKeysWanted(self.username)

    def take_keys(self, keys: ScramKeys | None) -> ServerStep:
        if not self._first or self._server is not None:
            return Failed(_MALFORMED, self.username)
        if keys is None:
            return Failed(_WRONG, self.username)
        found = (keys.salt, keys.stored_key, keys.server_key, keys.iterations)
        try:
            server = scramp.ScramMechanism(SCRAM).make_server(lambda _: found, s_nonce=self._nonce)
            server.set_client_first(self._first)
            challenge: str = server.get_server_first()
        except _SCRAM_FAULTS:
            return Failed(reply(454, "Temporary authentication failure", "4.7.0"), self.username)
        self._server = server
        return Challenge(challenge.encode())

    def _take_final(self, server: scramp.core.ScramServer, text: str) -> ServerStep:
        try:
            server.set_client_final(text)
            final: str = server.get_server_final()
        except scramp.ScramException as error:
            is_wrong = error.server_error is scramp.utils.ServerError.INVALID_PROOF
            return Failed(_WRONG if is_wrong else _MALFORMED, self.username)
        except _SCRAM_FAULTS:
            return Failed(_MALFORMED, self.username)
        self._is_proved = True
        return Challenge(final.encode())


_SCRAM_FAULTS = (scramp.ScramException, ValueError, KeyError, IndexError, TypeError)


def _text(octets: bytes) -> str | None:
    """A field as text; None for one that is too long, not UTF-8, or holds a NUL."""
    if len(octets) > MAX_FIELD_OCTETS or b"\0" in octets:
        return None
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


# The client's side ----------------------------------------------------------------------------------------------


def choose(offered: Iterable[str], *, tls: bool) -> str | None:
    """The strongest mechanism that both sides know, or None; without TLS never one that sends the password."""
    names = {name.upper() for name in offered}
    return next((name for name in PREFERENCE if name in names and (tls or name == SCRAM)), None)


class ClientExchange:
    """One AUTH command, client side. Raises SaslError at once for a mechanism or credentials it cannot use."""

    def __init__(self, mechanism: str, username: str, password: str, nonce: str) -> None:
        self.mechanism = mechanism.upper()
        self._username = username
        self._password = password
        self._steps = 0
        self._scram: scramp.core.ScramClient | None = None
        self._is_verified = False
        if self.mechanism not in PREFERENCE:
            raise SaslError(f"mechanism {self.mechanism} is not known here: use one of {', '.join(PREFERENCE)}")
        if not all(word and "\0" not in word and not _SURROGATE.search(word) for word in (username, password)):
            raise SaslError("user name and password must be text, neither empty nor with a NUL in it")
        if self.mechanism == SCRAM:
            try:
                self._scram = scramp.ScramClient([SCRAM], username, password, c_nonce=nonce)
            except _SCRAM_FAULTS as error:
                raise SaslError(f"SCRAM cannot use these credentials: {error}") from None

    @property
    def is_complete(self) -> bool:
        """Whether a 235 may be believed now: all was sent, and for SCRAM the server has proved itself."""
        if self._scram is not None:
            return self._is_verified
        return self._steps == (1 if self.mechanism == "PLAIN" else 2)

    def initial(self) -> bytes | None:
        """The initial response, or None where the mechanism has none."""
        return None if self.mechanism == "LOGIN" else self._first()

    def respond(self, challenge: bytes) -> bytes:
        """The response to a challenge (both without base64). Raises SaslError for one that makes no sense."""
        if self._scram is None and not self.is_complete:
            return self._first() if self.mechanism == "PLAIN" else self._login()
        if self._scram is None or self._is_verified:
            raise SaslError("the server goes on asking after all was said")
        if self._steps == 0:
            return self._first()
        if self._steps == 1:
            return self._scram_final(self._scram, challenge)
        self.verify_final(challenge)
        return b""

    def verify_final(self, data: bytes) -> None:
        """Check the server's signature (RFC 5802 §3). Raises SaslError where the server does not know the password."""
        if self._scram is None or self._steps != 2 or self._is_verified:
            raise SaslError("no server signature is due")
        try:
            self._scram.set_server_final(data.decode("utf-8"))
        except _SCRAM_FAULTS:
            raise SaslError("the server did not prove that it knows the password") from None
        self._is_verified = True

    def _first(self) -> bytes:
        self._steps += 1
        if self._scram is None:
            return b"\0%b\0%b" % (self._username.encode(), self._password.encode())
        if self._steps != 1:
            raise SaslError("the exchange has begun already")
        first: str = self._scram.get_client_first()
        return first.encode()

    def _login(self) -> bytes:
        self._steps += 1
        return (self._username if self._steps == 1 else self._password).encode()

    def _scram_final(self, client: scramp.core.ScramClient, challenge: bytes) -> bytes:
        self._steps += 1
        try:
            client.set_server_first(challenge.decode("utf-8"))
            if int(client.iterations) > MAX_ITERATIONS:
                raise SaslError(f"the server asks for {client.iterations} rounds, more than {MAX_ITERATIONS}")
            final: str = client.get_client_final()
        except _SCRAM_FAULTS as error:
            raise SaslError(f"the server's challenge is malformed: {error}") from None
        return final.encode()
