"""Tokens instead of passwords (RFC 7628): the authorization server is asked, and only its word opens the door."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.clock import SystemClock
from postroad.receive.auth import Authenticator, AuthLimits
from postroad.receive.tokens import Introspection, IntrospectionSettings
from postroad.smtp.sasl import Failed, PasswordOffered, ServerExchange
from postroad.store.accounts import MemoryAccounts

NOW = 1_800_000_000.0
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


def taken(mechanism: str, text: str) -> PasswordOffered | Failed:
    step = ServerExchange(mechanism, nonce="n").start(text.encode())
    assert isinstance(step, PasswordOffered | Failed)
    return step


def test_both_forms_name_the_user_and_carry_the_token() -> None:
    wanted = PasswordOffered("user@example.com", "", TOKEN, is_token=True)
    bearer = f"n,a=user@example.com,\x01host=server.example.com\x01port=587\x01auth=Bearer {TOKEN}\x01\x01"
    assert taken("OAUTHBEARER", bearer) == wanted
    assert taken("XOAUTH2", f"user=user@example.com\x01auth=Bearer {TOKEN}\x01\x01") == wanted
    odd = taken("OAUTHBEARER", f"n,a=a=2Cb=3Dc,\x01auth=bearer {TOKEN}\x01\x01")
    assert isinstance(odd, PasswordOffered) and odd.username == "a,b=c"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n,,\x01auth=Bearer x\x01\x01",
        "n,a=u,\x01auth=Basic x\x01\x01",
        "n,a=u,\x01auth=Bearer a b\x01\x01",
        "x" * 9000,
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    assert isinstance(taken("OAUTHBEARER", text), Failed)


@given(st.binary(max_size=200), st.sampled_from(["OAUTHBEARER", "XOAUTH2"]))
def test_s25_no_response_raises(response: bytes, mechanism: str) -> None:
    ServerExchange(mechanism, nonce="n").start(response)


@asynccontextmanager
async def authority(answer: object, asked: list[bytes]) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        asked.append(head + await reader.readexactly(length))
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(text), text))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/introspect"


def checked(
    answer: object, username: str = "ann@example.org", *, times: int = 1, scope: str = ""
) -> tuple[int, list[bytes]]:
    asked: list[bytes] = []

    async def go() -> int:
        accounts = MemoryAccounts()
        accounts.add("ann@example.org", "a long password")
        with ThreadPoolExecutor(1) as pool:
            async with authority(answer, asked) as url:
                one = Authenticator(accounts, pool, SystemClock(), secret=b"s" * 32, limits=AuthLimits(delay_s=0.0))
                settings = IntrospectionSettings(url=url, client_id="us", client_secret="secret", scope=scope)
                one.tokens = Introspection(settings, lambda: NOW)
                for _ in range(times):
                    refusal = await one.check_token(username, "", TOKEN, "192.0.2.1")
                await one.tokens.close()
        return 235 if refusal is None else refusal.code

    return asyncio.run(go()), asked


def test_a_token_of_the_user_is_taken_and_asked_about_once() -> None:
    code, asked = checked({"active": True, "username": "Ann@example.org", "exp": NOW + 60}, times=3)
    assert code == 235 and len(asked) == 1
    assert b"authorization: basic " + base64.b64encode(b"us:secret").lower() in asked[0].lower()


@pytest.mark.parametrize(
    "answer",
    [
        {"active": False},
        {"active": True, "username": "bob@example.org"},
        {"active": True, "username": "ann@example.org", "exp": NOW - 1},
        {"active": True},
    ],
)
def test_other_tokens_are_not(answer: object) -> None:
    assert checked(answer)[0] == 535


def test_a_token_for_something_else_or_of_a_user_without_an_account_is_not_taken() -> None:
    good = {"active": True, "username": "ann@example.org", "scope": "calendar"}
    assert checked(good, scope="mail.send")[0] == 535
    assert checked({**good, "scope": "calendar mail.send"}, scope="mail.send")[0] == 235
    assert checked({"active": True, "username": "zoe@example.org"}, "zoe@example.org")[0] == 535


@pytest.mark.parametrize("answer", [b"<html>", [1], {"active": "yes"}])
def test_no_answer_is_no_refusal_for_good(answer: object) -> None:
    assert checked(answer)[0] == 454
