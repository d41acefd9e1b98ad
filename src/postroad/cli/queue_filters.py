"""What of the queue a command means: its options, as a `Selection`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from postroad.clock import SystemClock
from postroad.log.read import moment
from postroad.message.envelope import parse_queue_id
from postroad.smtp.address import Address, AddressError, to_a_labels
from postroad.store.queue_selection import Selection

_PRIORITIES = re.compile(r"(-?[0-9])(?:\.\.(-?[0-9]))?")
Command = TypeVar("Command", bound=Callable[..., Any])


def queue_id(text: str) -> int:
    """The 13 characters by which the server's 250 and the log name a message. Raises click.BadParameter."""
    number = parse_queue_id(text)
    if number is None:
        raise click.BadParameter(f"{text!r} is no queue id: those have 13 characters, as `postroad queue list` shows")
    return number


def domain_name(text: str) -> str:
    """A domain in the form the queue keeps. Raises click.BadParameter."""
    try:
        return to_a_labels(text.removesuffix("."))
    except AddressError as error:
        raise click.BadParameter(f"{text!r} is no domain: {error}") from None


def sender_filter(text: str) -> str:
    """`<>`, `@domain` or an address in the form the queue keeps. Raises click.BadParameter."""
    local, at, domain = text.rpartition("@")
    if text == "<>":
        return text
    if not at:
        raise click.BadParameter(f"write ann@example.org, @example.org or <>, not {text!r}")
    return f"{local}@{domain_name(domain)}"


def recipient_filter(text: str) -> tuple[str, str]:
    """Local part and domain in the form the queue keeps. Raises click.BadParameter."""
    try:
        address = Address.parse(text, smtputf8=True)
    except AddressError as error:
        raise click.BadParameter(f"{text!r} is no address: {error}; write it as ann@example.org") from None
    return address.local, address.domain


def age_filter(text: str) -> tuple[bool, float]:
    """`+2h`: more than two hours in the queue, `-2h`: less; whether it is more, and the moment that divides them."""
    now = SystemClock().wall()
    at = moment(text[1:] if text[:1] in "+-" else text, now)
    if at is None:
        raise click.BadParameter(
            f"write +2h for older than two hours, -30m for younger than half an hour, not {text!r}"
        )
    return not text.startswith("-"), at


def priority_filter(text: str) -> tuple[int, int]:
    """`-5`, or `-9..-1`."""
    found = _PRIORITIES.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"write a priority from -9 to 9, or two as -9..-1, not {text!r}")
    least = int(found[1])
    return least, least if found[2] is None else int(found[2])


_OPTIONS = (
    click.option("--site", metavar="SITE", help="Tried last at this site, or this host: see `summary --by site`."),
    click.option("--domain", type=domain_name, metavar="DOMAIN", help="With a recipient there."),
    click.option(
        "--sender", type=sender_filter, metavar="SENDER", help="From this address, @domain, or <> for notifications."
    ),
    click.option("--recipient", type=recipient_filter, metavar="ADDRESS", help="To this address."),
    click.option(
        "--age", "ages", type=age_filter, multiple=True, metavar="±AGE", help="+2h: older than that, -30m: younger."
    ),
    click.option("--reason", metavar="TEXT", help="A meaning (greylisted), or a part of the words for which it waits."),
    click.option("--held/--not-held", "is_held", default=None, help="Held for an operator or a hook, or not."),
    click.option("--priority", "priorities", type=priority_filter, metavar="N[..M]", help="Of that priority."),
)


def filtered(command: Command) -> Command:
    """Give a command the filters; it gets them as `selection`, which has no ids yet."""

    @functools.wraps(command)
    def filled(
        *arguments: Any,
        site: str | None,
        domain: str | None,
        sender: str | None,
        recipient: tuple[str, str] | None,
        ages: tuple[tuple[bool, float], ...],
        reason: str | None,
        is_held: bool | None,
        priorities: tuple[int, int] | None,
        **others: Any,
    ) -> Any:
        selection = Selection(
            site=site,
            domain=domain,
            sender=sender,
            recipient=recipient,
            received_before=min((at for is_older, at in ages if is_older), default=None),
            received_after=max((at for is_older, at in ages if not is_older), default=None),
            reason=reason,
            is_held=is_held,
            priorities=priorities,
        )
        return command(*arguments, selection=selection, **others)

    for option in reversed(_OPTIONS):
        filled = option(filled)
    return filled  # type: ignore[return-value]
