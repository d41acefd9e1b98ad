"""The web listener, as configured: what is measured and probed, and who may unsubscribe."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509

from postroad.api.health import Finding, Health, Probe
from postroad.api.site import SiteParts
from postroad.api.unsubscribe import UnsubscribePage
from postroad.clock import Clock
from postroad.compose.returns import unsubscriber
from postroad.compose.server import alive_mark, certificate_paths, metrics_directory
from postroad.config import Config
from postroad.events import emit
from postroad.message.unsubscribe import Leaving
from postroad.metrics import exposition
from postroad.net.resolver import DnsStatus, Resolver
from postroad.store.facts import Cause, FactStore, Suppressed
from postroad.store.queue_admin import QueueAdmin
from postroad.store.spool import SpoolError
from postroad.verify.traits import mailbox

HEARTBEAT_S = 15.0
"""A worker that was not seen at work for longer is not well."""
CERTIFICATE_DAYS = 3
DNS_PATIENCE_S = 5.0


def parts(config: Config, secret: bytes, resolver: Resolver, clock: Clock) -> SiteParts:
    """Everything that the web listener shows."""
    state = Path(config.server.state_dir)
    probes: list[Probe] = [
        _in_thread(lambda: _workers(config, clock)),
        _in_thread(lambda: _disk(state, config.disk.least_free_octets)),
        _in_thread(lambda: _spool(state / "spool", clock)),
        _in_thread(lambda: _certificate(certificate_paths(config)[0], clock)),
        lambda: _dns(resolver, config.server.hostname, clock),
    ]
    made = unsubscriber(config, secret)
    return SiteParts(
        health=Health(probes, clock.monotonic),
        metrics=lambda: asyncio.to_thread(lambda: exposition(metrics_directory(config), list(measured(config, clock)))),
        operators=[ipaddress.ip_network(network, strict=False) for network in config.http.operators],
        unsubscribing=None if made is None else UnsubscribePage(made, leaving(state, clock)),
    )


def leaving(state: Path, clock: Clock) -> Callable[[Leaving], asyncio.Future[None]]:
    """Puts those who leave on the list."""
    store: list[FactStore] = []

    def keep(who: Leaving) -> None:
        if not store:
            store.append(FactStore(state / "facts.db", mailbox_of=mailbox))
        note = "unsubscribed by one click"
        store[0].suppress(
            [Suppressed(name=who.address, cause=Cause.OPT_OUT, added_at=clock.wall(), note=note, scope=who.scope)]
        )
        emit("unsubscribe.done", recipient=who.address, scope=who.scope, by="web")

    return lambda who: asyncio.get_running_loop().run_in_executor(None, keep, who)


def measured(config: Config, clock: Clock) -> Sequence[tuple[str, float]]:
    """Gauges of what is on the disk: the queue, free space, the certificate."""
    state = Path(config.server.state_dir)
    found: list[tuple[str, float]] = [("postroad_disk_free_octets", float(shutil.disk_usage(state).free))]
    try:
        with QueueAdmin(state / "spool") as admin:
            counts = admin.counts(clock.wall())
            oldest = admin.list(limit=1)
            found += [
                ("postroad_queue_messages", counts.messages),
                ("postroad_queue_recipients", counts.recipients),
                ("postroad_queue_due", counts.due),
                ("postroad_queue_held", counts.held),
                ("postroad_queue_damaged", counts.damaged),
                ("postroad_queue_oldest_seconds", max(0.0, clock.wall() - oldest[0].received_at) if oldest else 0.0),
            ]
    except SpoolError as error:
        emit("spool.failed", error=str(error))
    ends = _ends(certificate_paths(config)[0])
    if ends is not None:
        found.append(("postroad_certificate_expiry_seconds", ends.timestamp()))
    return found


# Probes -----------------------------------------------------------------------------------------------------------


def _in_thread(look: Callable[[], Finding]) -> Probe:
    async def probe() -> Finding:
        return await asyncio.to_thread(look)

    return probe


def _workers(config: Config, clock: Clock) -> Finding:
    """By the marks that workers leave each second."""
    silent = []
    for index in range(config.server.workers):
        try:
            age = clock.wall() - alive_mark(config, index).stat().st_mtime
        except OSError:
            age = float("inf")
        if age > HEARTBEAT_S:
            silent.append(str(index))
    if silent:
        return Finding("workers", False, f"no sign of worker {', '.join(silent)} for {HEARTBEAT_S:.0f} seconds")
    return Finding("workers", True, f"{config.server.workers} at work")


def _disk(state: Path, floor: int) -> Finding:
    free = shutil.disk_usage(state).free
    told = f"{free:,} octets free in {state}"
    return Finding("disk", free >= floor, told if free >= floor else f"{told}, less than least_free_octets: {floor:,}")


def _spool(directory: Path, clock: Clock) -> Finding:
    try:
        with QueueAdmin(directory) as admin:
            counts = admin.counts(clock.wall())
    except SpoolError as error:
        return Finding("spool", False, str(error))
    if not os.access(directory, os.W_OK):
        return Finding("spool", False, f"{directory} may not be written")
    return Finding("spool", True, f"{counts.messages:,} messages, {counts.damaged} set aside")


def _ends(path: Path) -> datetime.datetime | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _certificate(path: Path, clock: Clock) -> Finding:
    ends = _ends(path)
    if ends is None:
        return Finding("certificate", False, f"{path} cannot be read")
    days = (ends.timestamp() - clock.wall()) / 86_400
    return Finding("certificate", days > CERTIFICATE_DAYS, f"{path} ends on {ends:%Y-%m-%d}, in {days:.0f} days")


async def _dns(resolver: Resolver, name: str, clock: Clock) -> Finding:
    began = clock.monotonic()
    try:
        async with asyncio.timeout(DNS_PATIENCE_S):
            answer = await resolver.addresses(name)
    except TimeoutError:
        return Finding("dns", False, f"no answer within {DNS_PATIENCE_S:.0f} seconds")
    is_well = answer.status is not DnsStatus.TEMPORARY
    return Finding("dns", is_well, f"answered in {clock.monotonic() - began:.3f} s" if is_well else "no answer")
