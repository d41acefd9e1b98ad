"""Receive mail in Python: prints each message, refuses one recipient. Start it, and in another shell

>>> postroad send --server localhost:2526 --tls none --from me@example.org --to you@example.org --body Hello
"""

import asyncio
import contextlib

from postroad import Server
from postroad.smtp.reply import Reply, reply


class Handler:
    """The hooks may be plain or async; None accepts, a Reply refuses."""

    async def rcpt(self, caller, address) -> Reply | None:  # type: ignore[no-untyped-def]
        return reply(550, "Nobody of that name here", "5.1.1") if address.local == "nobody" else None

    async def message(self, caller, envelope, body) -> None:  # type: ignore[no-untyped-def]
        print(envelope.reverse_path, "->", *(str(one.address) for one in envelope.recipients), len(body), "octets")


async def main(port: int = 2526) -> None:
    async with Server(Handler(), port=port) as server:
        await server.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
