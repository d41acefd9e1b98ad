"""The door of a listener with TLS from the first byte (RFC 8314): admits, shakes hands, then lets the session begin.

The event loop's own TLS servers tell of a connection only once its handshake is done; here it has a place, counted for
its peer, from the moment it is accepted, so half-open handshakes are bounded like sessions (H-08). Each connection gets
the certificate that is in force when it comes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from postroad.events import emit
from postroad.net.fault import explain_fault
from postroad.receive.caller import peer_of
from postroad.receive.session import Reception
from postroad.receive.station import Roll, Station

PAUSE_S = 1.0
"""After an accept that failed for want of files or memory: trying at once would only spin."""


class TlsDoor:
    """`station` gives what is in force now; `listener` is bound, listening and non-blocking."""

    def __init__(self, listener: socket.socket, station: Callable[[], Station], roll: Roll) -> None:
        self._listener = listener
        self._station = station
        self._roll = roll
        self._handshakes: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until cancelled; the handshakes under way end with it."""
        try:
            await self._accept()
        finally:
            for handshake in self._handshakes:
                handshake.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peername = await loop.sock_accept(self._listener)
            except OSError as error:
                emit("limit.reached", limit="accept", reason=explain_fault(error))
                await asyncio.sleep(PAUSE_S)
                continue
            station, peer = self._station(), peer_of(peername)[0]
            refusal = station.gate.enter(peer)
            if refusal is not None:
                emit("session.refused", peer=peer, reason=refusal)
                connection.close()
                continue
            handshake = loop.create_task(self._let_in(connection, peer, station))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _let_in(self, connection: socket.socket, peer: str, station: Station) -> None:
        session = Reception(station, self._roll, is_implicit_tls=True)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: session,
                connection,
                ssl=station.tls,
                ssl_handshake_timeout=station.timeouts.tls_handshake_s,
                ssl_shutdown_timeout=5.0,
            )
        except (OSError, TimeoutError) as error:
            emit("tls.failed", peer=peer, reason=explain_fault(error))
        finally:
            if not session.has_begun:
                station.gate.leave(peer)
