"""What stands in examples/ works as it says."""

from __future__ import annotations

import signal
import smtplib
import subprocess
import sys
from pathlib import Path

from postroad.config import Config, load

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_configuration_has_no_mistake() -> None:
    assert isinstance(load(EXAMPLES / "postroad.toml", {}), Config)


def test_the_receiver_prints_what_it_takes_and_refuses_nobody() -> None:
    code = (
        f"import asyncio, sys; sys.path.insert(0, {str(EXAMPLES)!r}); import receive_mail as example\n"
        "async def main():\n"
        "    async with example.Server(example.Handler()) as server:\n"
        "        print(server.port, flush=True)\n"
        "        await server.wait()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        with smtplib.SMTP("127.0.0.1", int(process.stdout.readline())) as client:
            recipients = ["you@example.org", "nobody@example.org"]
            refused = client.sendmail("me@example.org", recipients, "Subject: x\r\n\r\nhello\r\n")
        assert list(refused) == ["nobody@example.org"]
        assert process.stdout.readline().startswith("me@example.org -> you@example.org")
        process.send_signal(signal.SIGINT)
        process.wait(30)
