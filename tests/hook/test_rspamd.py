"""rspamd's answers, read; and asked over HTTP by a server that speaks as its documentation says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hook.test_amend import arrived
from postroad.hook.amend import HookFault
from postroad.hook.rspamd import answer
from postroad.hook.scanner import AskedRspamd, Scanner, ScannerSettings
from postroad.hook.vocabulary import AddHeader, Amend, ChangeHeader, Defer, Discard, Hold, Refuse


def said(**told: object) -> bytes:
    return json.dumps(told).encode()


def test_each_action_has_its_meaning() -> None:
    refused = answer(said(action="reject", messages={"smtp_message": "Gtube\r\npattern"}))
    assert isinstance(refused, Refuse) and str(refused.reply) == "550 5.7.1 Gtube??pattern"
    assert isinstance(answer(said(action="soft reject")), Defer)
    assert isinstance(answer(said(action="greylist")), Defer)
    assert isinstance(answer(said(action="discard")), Discard)
    assert answer(said(action="quarantine")) == Hold("quarantined")
    assert answer(said(action="no action")) is None
    assert answer(said(action="add header")) == Amend((AddHeader("X-Spam", "Yes"),))
    assert answer(said(action="rewrite subject", subject="*** x")) == Amend((ChangeHeader("Subject", 1, "*** x"),))


def test_the_headers_of_its_milter_block_are_added_and_removed() -> None:
    block = {
        "remove_headers": {"X-Spam": 0, "X-Other": 2},
        "add_headers": {"X-A": "1", "X-B": {"value": "2", "order": 0}, "X-C": ["3", {"value": "4"}]},
    }
    made = answer(said(action="no action", milter=block))
    assert isinstance(made, Amend)
    assert made.changes[49] == ChangeHeader("X-Spam", 1, None) and made.changes[50] == ChangeHeader("X-Other", 2, None)
    added = (AddHeader("X-A", "1"), AddHeader("X-B", "2", 0), AddHeader("X-C", "3"), AddHeader("X-C", "4"))
    assert made.changes[51:] == added


@given(
    st.binary(max_size=80)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["action", "milter", "x"]), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_is_answered_is_an_answer_or_a_fault_that_is_told(octets: bytes) -> None:
    with contextlib.suppress(HookFault):
        answer(octets)


@contextlib.asynccontextmanager
async def rspamd(reply: bytes, heard: list[bytes]) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        heard.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(reply), reply))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def scanned(reply: bytes, **options: object) -> tuple[object, list[bytes]]:
    heard: list[bytes] = []

    async def go() -> object:
        async with rspamd(reply, heard) as url:
            settings = ScannerSettings(name="rspamd", **options)  # type: ignore[arg-type]
            scanner = Scanner(settings, AskedRspamd(url), asyncio.get_running_loop().time)
            try:
                return await scanner.scan(arrived())
            finally:
                await scanner.close()

    return asyncio.run(go()), heard


def test_it_is_told_the_client_the_envelope_and_the_message() -> None:
    found, heard = scanned(said(action="add header"))
    assert isinstance(found, Amend)
    request = heard[0].lower()
    for told in (b"post /checkv2", b"ip: 192.0.2.1", b"from: carl@example.org", b"rcpt: bob@example.org"):
        assert told in request
    assert request.endswith(b"\r\n\r\nthe body\r\n")


@pytest.mark.parametrize(("on_failure", "kind"), [("accept", type(None)), ("defer", Defer), ("hold", Hold)])
def test_what_is_no_answer_has_the_answer_of_the_setting(on_failure: str, kind: type) -> None:
    found, _ = scanned(b"<html>", on_failure=on_failure)
    assert isinstance(found, kind)
