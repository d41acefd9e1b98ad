"""`postroad site` beside a running server with two workers: what is wanted is taken up, and mail waits for it."""

from __future__ import annotations

from cli.calls import serving
from cli.test_beside_a_server import DAVE, Place, Sink
from peers.processes import free_ports
from peers.server import PASSWORD, Server

SITE = "127.0.0.1"


def test_a_paused_sites_mail_waits_without_an_attempt_and_goes_when_it_is_resumed() -> None:
    (next_hop,) = free_ports(1)
    settings = {
        "server": {"workers": 2},
        "route": [{"domain": "*", "host": SITE, "port": next_hop}],
        "site": [{"key": SITE, "connections": 1}],
        "delivery": {"allow_private": True},
        "auth": {"delay_s": 0},
    }
    sink = Sink()
    with serving(sink, port=next_hop), Server(settings=settings) as server:  # type: ignore[arg-type]
        place = Place(server, next_hop)
        place.run("user", "add", DAVE, "--password-stdin", stdin=f"{PASSWORD}\n")
        assert place.run("site", "pause", SITE, "--for", "1h").status == 0
        server.wait(lambda: server.log().count("site.changed") == 2, "both workers")
        assert place.send(DAVE, "--to", "a@elsewhere.test").status == 0
        server.wait(lambda: "is paused by an operator" in str(place.queue()), "the reason")
        assert place.queue()[0]["attempts"] == 0
        assert "paused by an operator until" in place.run("site").out
        shown = place.run("site", "show", SITE).out
        assert "1 recipient of 1 message" in shown and "(paced)" in shown and "is paused by an operator" in shown
        assert place.run("site", "resume", SITE).status == 0
        server.wait(lambda: server.log().count("site.changed") == 4, "both workers")
        place.run("queue", "retry", str(place.queue()[0]["id"]))
        server.wait(lambda: not place.queue(), "delivery")
        assert sink.taken == ["a@elsewhere.test"]
        server.wait(lambda: " 1 sent" in place.run("site").out, "the count")
        assert "1  (config)" in place.run("site", "show", SITE).out
