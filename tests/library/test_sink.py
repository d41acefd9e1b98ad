"""Sink: a real server in a thread that holds what it received."""

from __future__ import annotations

import asyncio
import smtplib
import threading

import pytest

from postroad import Client, Sink
from postroad.net.listen import ListenError
from postroad.smtp.reply import reply

TEXT = "Subject: Gr=?utf-8?q?=C3=BC=C3=9Fe?=\r\nFrom: ann@example.org\r\n\r\nGood day.\r\n"


def send(sink: Sink, recipients: list[str], text: str = TEXT) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP(sink.host, sink.port, "client.test", timeout=20) as client:
        return client.sendmail("ann@example.org", recipients, text)


def test_it_holds_messages_as_they_came() -> None:
    with Sink() as sink:
        send(sink, ["bob@example.net", "carol@example.net"])
        received = sink.messages[0]
    assert received.sender == "ann@example.org"
    assert received.recipients == ("bob@example.net", "carol@example.net")
    assert received.hello == "client.test"
    assert received.body == TEXT.encode()
    assert received.parsed["From"] == "ann@example.org"
    assert received.subject.startswith("Gr")
    assert received.parsed.get_content().rstrip() == "Good day."


def test_a_message_without_a_subject_has_an_empty_one() -> None:
    with Sink() as sink:
        send(sink, ["bob@example.net"], "From: ann@example.org\r\n\r\nx\r\n")
        assert sink.messages[0].subject == ""


def test_it_refuses_whom_it_is_told_to_until_it_is_cleared() -> None:
    with Sink() as sink:
        sink.refuse("nobody@example.net")
        sink.refuse("later@example.net", reply(450, "Not now", "4.2.1"))
        refused = send(sink, ["bob@example.net", "nobody@example.net", "later@example.net"])
        assert refused == {
            "nobody@example.net": (550, b"5.1.1 No such mailbox"),
            "later@example.net": (450, b"4.2.1 Not now"),
        }
        assert sink.messages[0].recipients == ("bob@example.net",)
        sink.clear()
        assert sink.messages == []
        assert send(sink, ["nobody@example.net"]) == {}


def test_it_refuses_an_address_however_its_domain_is_written() -> None:
    with Sink() as sink:
        sink.refuse("nobody@B\u00dcCHER.example")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(sink, ["nobody@xn--bcher-kva.example"])


def test_it_waits_for_messages_that_are_on_their_way() -> None:
    with Sink() as sink:
        sending = threading.Thread(target=lambda: [send(sink, ["bob@example.net"]) for _ in range(3)])
        sending.start()
        assert len(sink.wait_for(3, timeout_s=20)) == 3
        sending.join()
        with pytest.raises(TimeoutError, match=r"3 of 4 messages came within 0\.01 s"):
            sink.wait_for(4, timeout_s=0.01)


def test_code_with_an_event_loop_of_its_own_sends_to_it() -> None:
    async def work(sink: Sink) -> None:
        async with Client(sink.host, sink.port) as client:
            assert (await client.send(TEXT.encode(), recipients=["bob@example.net"])).is_accepted

    with Sink() as sink:
        asyncio.run(work(sink))
        assert len(sink.messages) == 1


def test_several_run_side_by_side() -> None:
    with Sink() as first, Sink() as second:
        send(second, ["bob@example.net"])
        assert (len(first.messages), len(second.messages)) == (0, 1)


def test_a_place_where_it_cannot_listen_is_one_clear_error() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0"), Sink("192.0.2.1"):
        pass


def test_its_thread_ends_with_it() -> None:
    before = threading.active_count()
    with Sink() as sink:
        port = sink.port
    assert threading.active_count() == before
    with pytest.raises(OSError, match="refused"):
        smtplib.SMTP("127.0.0.1", port, timeout=20)
