"""`postroad lab`: a small mail world on loopback to try `postroad verify` in, with the truth about every address.

Writes the list and the truth, says how to verify against it, and runs until Ctrl-C; then tells what the hosts saw.
"""

from __future__ import annotations

import asyncio
import csv
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from postroad.cli.settings import fail
from postroad.lab.build import build_world
from postroad.lab.catalogue import EVERY, NAMES, Pace
from postroad.lab.dns import LabError
from postroad.lab.host import Latency
from postroad.lab.log import LabLog, Politeness
from postroad.lab.names import FIRST, LAST
from postroad.lab.running import Lab, LabSettings
from postroad.lab.world import MAX_ADDRESSES, World

if TYPE_CHECKING:
    from postroad.lab.truth import Truth

BUSIEST = 5
"""Sites that the summary names."""
HELLO = "prober.example"
"""A name that leads to 127.0.0.1 in the lab's DNS, and back."""
_YEARS = range(2016, 2026)


def _personalities(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = NAMES if value is None else tuple(name.strip() for name in value.split(",") if name.strip())
    strange = sorted(set(names) - set(EVERY))
    if strange or not names:
        raise click.BadParameter(
            f"no personality is called {', '.join(strange) or 'nothing'}; there are {', '.join(EVERY)}"
        )
    return names


@click.command("lab")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same world.")
@click.option(
    "--addresses", type=click.IntRange(1, MAX_ADDRESSES), default=1000, show_default=True, help="Length of the list."
)
@click.option(
    "--latency", type=click.FloatRange(0, 60_000), default=50.0, show_default=True, help="Milliseconds before a reply."
)
@click.option("--each-reply", is_flag=True, help="Each reply of a pipelined batch waits, not only the first.")
@click.option(
    "--greylist",
    type=click.FloatRange(0, 86_400),
    default=20.0,
    show_default=True,
    help="Seconds that greylisting hosts want at most; the least is half of it.",
)
@click.option(
    "--pace",
    type=click.FloatRange(0, 10),
    default=0.1,
    show_default=True,
    help="Factor on the waits of slow hosts: 1 is as slow as in the world.",
)
@click.option(
    "--personalities",
    metavar="NAME,...",
    callback=_personalities,
    help="Hold these alone; by default all but those at DATA.",
)
@click.option(
    "--list",
    "list_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("lab-list.csv"),
    show_default=True,
    help="Where to write the list.",
)
@click.option(
    "--truth",
    "truth_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("lab-truth.csv"),
    show_default=True,
    help="Where to write what each address really is.",
)
@click.option("--log", "log_file", type=click.Path(dir_okay=False, path_type=Path), help="Every event, as JSON lines.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="Port of the mail hosts; a free one by default."
)
@click.option("--dns-port", type=click.IntRange(0, 65_535), default=0, help="Port of DNS; a free one by default.")
@click.option("--for", "seconds", type=click.FloatRange(0, 86_400 * 365), help="Stop after so many seconds.")
def command(list_file: Path, truth_file: Path, log_file: Path | None, **options: Any) -> None:
    """Run a simulated internet on loopback, where the truth about every address is known.

    A DNS server and mail hosts with personalities: honest ones, catch-alls, greylisting, tarpits, blocks, broken TLS
    and many more. Nothing leaves this machine.
    """
    greylist = options["greylist"]
    world = build_world(
        options["seed"],
        addresses=options["addresses"],
        personalities=options["personalities"],
        pace=Pace(greylist_s=(greylist / 2, greylist), factor=options["pace"]),
    )
    settings = LabSettings(
        latency=Latency(options["latency"] / 1000, options["each_reply"]),
        port=options["port"],
        dns_port=options["dns_port"],
    )
    _allow_many_files()
    try:
        _write_list(list_file, world)
        _write_truth(truth_file, world)
        with _opened(log_file) as file:
            log = LabLog(file=file)
            asyncio.run(_run(Lab(world, settings, log=log), list_file, truth_file, options["seconds"]))
    except LabError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or log_file}: {(error.strerror or '').lower()}")
    for line in _summary(log.politeness()):
        click.echo(line)


def _allow_many_files() -> None:
    """Each host listens on an address of its own: take as many open files as this process may."""
    try:
        import resource
    except ImportError:  # no POSIX system
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(lab: Lab, list_file: Path, truth_file: Path, seconds: float | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with lab:
        for line in _introduction(lab, list_file, truth_file):
            click.echo(line)
        if seconds is not None:
            loop.call_later(seconds, stopped.set)
        await stopped.wait()


def _introduction(lab: Lab, list_file: Path, truth_file: Path) -> Iterator[str]:
    world = lab.world
    sites = {host.site for host in world.hosts.values()}
    yield (
        f"World {world.seed}: {len(world.by_address):,} addresses, {len(world.domains):,} domains,"
        f" {len(world.hosts):,} mail hosts of {len(sites):,} sites on port {lab.port}, DNS on {lab.resolver}."
    )
    yield f"The list is in {list_file}, the truth about it in {truth_file}. Verify it from another shell:"
    yield ""
    yield (
        f"  postroad verify {list_file} --output lab-result.csv --resolver {lab.resolver} --port {lab.port}"
        f" --allow-private --hello {HELLO} --timeout 10 --connect-timeout 3"
    )
    yield ""
    yield "Ctrl-C ends the lab and tells what its hosts saw."


def _summary(politeness: Politeness) -> Iterator[str]:
    whole = politeness.whole
    if not whole.sessions:
        yield "Nobody came."
        return
    yield f"{whole.sessions:,} sessions, {whole.recipients:,} recipients asked about."
    yield "The most that any one site bore:"
    yield f"  connections at a time       {whole.most_connections:,}"
    yield f"  connections in a minute     {whole.most_connections_a_minute:,}"
    yield f"  recipients in a minute      {whole.most_recipients_a_minute:,}"
    yield f"  recipients in a session     {whole.most_recipients_a_session:,}"
    yield f"Sessions left without QUIT: {whole.without_quit:,}. DATA commands: {whole.data:,}."
    busiest = sorted(politeness.sites.items(), key=lambda one: -one[1].recipients)[:BUSIEST]
    yield "The busiest sites: " + ", ".join(f"{site} ({figures.recipients:,})" for site, figures in busiest) + "."


# Files ----------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO | None]:
    with nullcontext() if path is None else path.open("w", encoding="utf-8", buffering=1) as file:
        yield file


def _write_list(path: Path, world: World) -> None:
    """The addresses among what else such lists hold: a name, and since when it is known."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "email", "signed_up"])
        for index, address in enumerate(world.addresses()):
            first, last = FIRST[index % len(FIRST)], LAST[index % len(LAST)]
            day = f"{_YEARS[index % len(_YEARS)]}-{index % 12 + 1:02}-{index % 28 + 1:02}"
            rows.writerow([f"{first.title()} {last.title()}", address, day])


def _write_truth(path: Path, world: World) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["address", "truth", "right", "also_right", "needs", "wait_s", "personality", "site"])
        rows.writerows(_truth_row(truth) for truth in world.by_address.values())


def _truth_row(truth: Truth) -> list[str]:
    return [
        truth.address,
        str(truth.kind),
        *(" ".join(sorted(words)) for words in (truth.right, truth.also, truth.needs)),
        f"{truth.wait_s:g}",
        truth.personality,
        truth.site,
    ]
