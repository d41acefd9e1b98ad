"""`postroad verify`: a few addresses or a whole list, asked about by the SMTP handshake; never sends a message.

A list goes through the result store of the state directory, so that a stopped or killed run can go on by `--resume`.
Results go to standard output or `--output`; progress, notices and the summary of a list to standard error. This module
is the command line; verify_run asks, verify_output writes.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import click

from postroad.cli.settings import fail, verify_state
from postroad.cli.verify_output import STYLES, Output
from postroad.cli.verify_run import Asking, ListOptions, verify_few, verify_list
from postroad.config.judge import is_ip, split_host_port
from postroad.net.endpoint import Egress, PhaseTimeouts, TlsMode
from postroad.net.hostname import machine_name
from postroad.net.listen import ListenError, check_source
from postroad.net.proxy import SCHEMES, ProxyFault, check_proxy
from postroad.road.provider import DataFileError
from postroad.smtp.address import NULL, Address, AddressError
from postroad.store.facts import FactStore
from postroad.store.spool import SpoolError
from postroad.verify.data_lists import DataLists
from postroad.verify.settings import VerifySettings
from postroad.verify.traits import mailbox

MAX_WAIT_S = 7 * 86_400.0
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def _server(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    text = f"[{value}]:53" if is_ip(value) and ":" in value else value if ":" in value else f"{value}:53"
    found = split_host_port(text)
    if found is None:
        raise click.BadParameter(f"write ADDRESS:PORT, such as 127.0.0.1:53 or [::1]:53, not {value!r}")
    return text


def _source_addresses(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not is_ip(value):
            raise click.BadParameter(f"write an IP address of this machine, not {value!r}")
    return values


def _proxies(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            check_proxy(value)
        except ProxyFault as error:
            raise click.BadParameter(str(error)) from None
    return values


def _zones(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", value) or "." not in value.strip("."):
            raise click.BadParameter(f"write the DNS zone of a block list, such as list.example.org, not {value!r}")
    return values


def _seconds(_context: click.Context, _option: click.Parameter, value: str) -> float:
    found = re.fullmatch(r"([0-9]{1,7}(?:\.[0-9]+)?) ?(s|m|min|h|d)?", value.strip().lower())
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found else -1.0
    if not 0 <= seconds <= MAX_WAIT_S:
        raise click.BadParameter(f"write seconds, or a time such as 15m or 2h, up to 7d, not {value!r}")
    return seconds


def _mail_from(_context: click.Context, _option: click.Parameter, value: str) -> Any:
    if value in ("", "<>"):
        return NULL
    try:
        return Address.parse(value, smtputf8=True)
    except AddressError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


_FILE = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.command("verify")
@click.argument("subjects", metavar="ADDRESS... | FILE", nargs=-1, required=True)
@click.option("--format", "style", type=click.Choice(STYLES), help="How to write the results.")
@click.option("--output", type=_FILE, help="File for the results; - for none.")
@click.option("--report", type=_FILE, help="File for a page with charts, a table to filter, and what to do next.")
@click.option("--split", type=_DIRECTORY, help="Directory for clean.csv, risky.csv and remove.csv, ready to import.")
@click.option("--column", help="Name or number (from 1) of the column with the addresses; found by itself otherwise.")
@click.option("--encoding", help="Encoding of a list of text; found by itself otherwise.")
@click.option("--resume", is_flag=True, help="Go on with the last run of this list: ask only what it left open.")
@click.option(
    "--fresh/--reuse",
    "is_fresh",
    default=None,
    help="Ignore verdicts found earlier, or use them. Without either they are used, but not with --resolver, --port or"
    " --allow-private.",
)
@click.option("--max-age", type=click.FloatRange(0, 365), help="Days after which an earlier verdict is not used.")
@click.option("--state", type=_DIRECTORY, help="Directory for runs of lists, verdicts found and the suppression list.")
@click.option(
    "--keep-days", type=click.IntRange(0, 3650), default=30, show_default=True, help="How long runs are kept."
)
@click.option("--lists", type=_DIRECTORY, help="Directory with lists of yours: disposable.txt, free.txt, role.txt, …")
@click.option("--resolver", metavar="ADDRESS:PORT", callback=_server, help="DNS server; the system's by default.")
@click.option("--dnsbl", metavar="ZONE", multiple=True, callback=_zones, help="Block list to ask about mail hosts.")
@click.option("--port", type=click.IntRange(1, 65_535), default=25, show_default=True, help="Port of the mail hosts.")
@click.option(
    "--source-address",
    metavar="IP",
    multiple=True,
    callback=_source_addresses,
    help="Local address to connect from; several share the sites among them.",
)
@click.option(
    "--proxy",
    metavar="URL",
    multiple=True,
    callback=_proxies,
    help=f"Proxy to connect by ({', '.join(SCHEMES)}): socks5://HOST:PORT; several share the sites among them.",
)
@click.option(
    "--split-sites", is_flag=True, help="Ask one site from all addresses and proxies, each at its own limits."
)
@click.option("--allow-private", is_flag=True, help="Contact hosts with loopback, private or link-local addresses too.")
@click.option("--hello", help="Name to give in EHLO, which should lead to this machine; its own by default.")
@click.option("--mail-from", default="", callback=_mail_from, help="Sender to name; the null one (<>) by default.")
@click.option(
    "--tls",
    type=click.Choice(["none", "opportunistic", "required", "verified"]),
    default="opportunistic",
    show_default=True,
    help="STARTTLS: never, where offered, always, or always with a valid certificate.",
)
@click.option(
    "--wait",
    metavar="TIME",
    default="15m",
    show_default=True,
    callback=_seconds,
    help="How long an address may wait to be asked again: greylisting, trouble that passes. 0: never.",
)
@click.option(
    "--random/--no-random",
    "is_asking_at_random",
    default=True,
    show_default=True,
    help="Ask each domain about a made-up recipient too, to know those that take everybody.",
)
@click.option("--connections", type=click.IntRange(1, 5000), default=50, show_default=True, help="In all, at a time.")
@click.option("--per-site", type=click.IntRange(1, 100), default=2, show_default=True, help="Connections to one site.")
@click.option(
    "--recipients", type=click.IntRange(1, 1000), default=50, show_default=True, help="Addresses asked in one session."
)
@click.option(
    "--rate",
    type=click.IntRange(0, 1_000_000),
    default=600,
    show_default=True,
    help="Addresses a minute at one site; 0: no limit.",
)
@click.option("--total-rate", type=click.IntRange(0, 10_000_000), default=0, help="Addresses a minute in all.")
@click.option(
    "--timeout", type=click.FloatRange(0.1, 600), default=60.0, show_default=True, help="Seconds for each answer."
)
@click.option("--connect-timeout", type=click.FloatRange(0.1, 600), default=15.0, show_default=True, help="To connect.")
def command(subjects: tuple[str, ...], style: str | None, output: Path | None, **options: Any) -> None:
    """Verify addresses by the SMTP handshake; never sends a message.

    FILE is a list: CSV, TSV, one address a line, JSON lines, a spreadsheet or Parquet; - reads it from standard
    input. Needs no server and no configuration.
    """
    is_list = _is_list(subjects)
    if options["resume"] and not is_list:
        fail("--resume goes on with a list: addresses that are named one by one are asked about each time")
    state = verify_state(options["state"])
    try:
        lists = DataLists.load(options["lists"])
        with FactStore(state / "facts.db", mailbox_of=partial(mailbox, lists=lists)) as facts:
            asking = Asking(
                settings=_settings(options),
                resolver=options["resolver"],
                lists=lists,
                facts=facts,
                is_reusing=_is_reusing(options),
                max_age_days=options["max_age"],
            )
            writing = Output(style, output, options["report"], options["split"])
            if is_list:
                verify_list(
                    subjects[0],
                    asking,
                    writing,
                    ListOptions(
                        state=state,
                        column=options["column"],
                        encoding=options["encoding"],
                        is_resuming=options["resume"],
                        keep_days=options["keep_days"],
                    ),
                )
            else:
                verify_few(subjects, asking, writing)
    except (DataFileError, SpoolError) as error:
        fail(str(error))


def _settings(options: dict[str, Any]) -> VerifySettings:
    hello = options["hello"] or machine_name()
    if not hello.isascii() or not hello.isprintable() or " " in hello:
        raise click.BadParameter("a name in EHLO is one word of printable ASCII", param_hint="--hello")
    for address in options["source_address"]:
        try:
            check_source(address)
        except ListenError as error:
            fail(str(error))
    egress = (
        *(Egress(source_address=address) for address in options["source_address"]),
        *(Egress(proxy=proxy) for proxy in options["proxy"]),
    )
    return VerifySettings(
        hello=hello,
        mail_from=options["mail_from"],
        port=options["port"],
        tls=TlsMode(options["tls"]),
        egress=egress or (Egress(),),
        splits_sites=options["split_sites"],
        allow_private=options["allow_private"],
        connections=options["connections"],
        per_site=options["per_site"],
        recipients_per_session=options["recipients"],
        recipients_per_minute=options["rate"] or None,
        recipients_per_minute_in_all=options["total_rate"] or None,
        wait_s=options["wait"],
        is_asking_at_random=options["is_asking_at_random"],
        block_lists=options["dnsbl"],
        timeouts=PhaseTimeouts.all(options["timeout"], connect_s=options["connect_timeout"]),
    )


def _is_reusing(options: dict[str, Any]) -> bool:
    """Verdicts of the Internet are no verdicts of a laboratory, nor the other way round."""
    if options["is_fresh"] is not None:
        return not options["is_fresh"]
    return options["resolver"] is None and options["port"] == 25 and not options["allow_private"]


def _is_list(subjects: tuple[str, ...]) -> bool:
    """Whether the one argument names a list; ends the command where what is given can be neither."""
    if len(subjects) == 1 and (subjects[0] == "-" or Path(subjects[0]).exists()):
        if Path(subjects[0]).is_dir():
            fail(f"{subjects[0]} is a directory: name the list itself")
        return True
    for subject in subjects:
        if "@" in subject:
            continue
        if Path(subject).is_dir():
            fail(f"{subject} is a directory: give addresses, or one list")
        if Path(subject).exists():
            fail(f"{subject} is a list: give one list alone, or only addresses")
        fail(f"{subject!r} is neither a file that is there nor an address: an address has an @")
    return False
