"""Whether the next host takes a recipient, asked as a probe: MAIL from nobody, RCPT, RSET, over the road of deliveries.

For receive/guard/call_forward.py, which decides what to make of it; worker.py joins them.
"""

from __future__ import annotations

from postroad.deliver.ports import Pool, Router
from postroad.road.pool import ConnectFailure
from postroad.road.route import RouteFailure
from postroad.smtp.address import NULL, Address
from postroad.smtp.command import Mail, Rcpt
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, reply

_NO_ANSWER = reply(450, "The next host gave no answer", "4.4.1")


async def ask_next_host(router: Router, pool: Pool, address: Address) -> Reply | None:
    """None where it takes the recipient (or nothing is asked of it: the route discards); its own 5yz to RCPT where it
    does not; a 450 where it said nothing that decides. Never raises for a fault of the network."""
    route = await router.route(address.domain)
    if isinstance(route, RouteFailure):
        return _NO_ANSWER
    if route.is_discard:
        return None
    lease = pool.try_acquire(route) or await pool.acquire(route)
    if isinstance(lease, RouteFailure | ConnectFailure):
        return _NO_ANSWER
    is_reusable = False
    try:
        connection = lease.connection
        is_utf8 = not address.is_ascii
        if is_utf8 and not connection.capabilities.has("SMTPUTF8"):
            is_reusable = True
            return _NO_ANSWER
        mail = Mail(NULL, {"SMTPUTF8": None} if is_utf8 else {})
        try:
            result = (await connection.probe(mail, [Rcpt(address, {})])).recipients[0]
        except LocalProtocolError:
            return _NO_ANSWER
        is_reusable = connection.is_open
    finally:
        lease.release(reusable=is_reusable)
    if result.is_accepted:
        return None
    if result.phase is Phase.RCPT and result.reply is not None and result.reply.is_permanent:
        return result.reply
    return _NO_ANSWER
