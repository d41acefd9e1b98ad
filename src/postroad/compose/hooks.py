"""Hooks, as configured: plugins, milters and rspamd as one list of scanners, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from postroad.config import Config
from postroad.deliver.examiner import PENDING
from postroad.deliver.settle import Judgement
from postroad.hook.notices import Notices
from postroad.hook.plugin import load
from postroad.hook.scanner import Asked, AskedMilter, AskedPlugin, AskedRspamd, Scanner, ScannerSettings
from postroad.hook.vocabulary import Settled
from postroad.message.envelope import format_queue_id
from postroad.receive.caller import Caller
from postroad.receive.checks import Amended, Checks
from postroad.receive.hooks import HookChecks
from postroad.smtp.server_events import MessageReceived
from postroad.store.spool import SpooledMessage


def scanners(config: Config, now: Callable[[], float]) -> Sequence[Scanner]:
    """Plugins first, then milters, then rspamd, each in the order of the file. Raises PluginError, OSError."""
    made: list[Scanner] = []

    def add(
        name: str, asked: Asked, *, when: str, on_failure: str, timeout_s: float, listeners: tuple[str, ...]
    ) -> None:
        settings = ScannerSettings(
            name=name,
            timeout_s=timeout_s,
            on_failure=on_failure,  # type: ignore[arg-type]
            is_after=when == "after",
            listeners=frozenset(listeners),
        )
        made.append(Scanner(settings, asked, now))

    for plugin in config.plugin:
        options = dict(option.split("=", 1) for option in plugin.options)
        add(
            plugin.name,
            AskedPlugin(load(plugin.name, options)),
            when=plugin.when,
            on_failure=plugin.on_failure,
            timeout_s=plugin.timeout_s,
            listeners=plugin.listeners,
        )
    for milter in config.milter:
        add(
            milter.name or milter.address,
            AskedMilter(milter.address),
            when=milter.when,
            on_failure=milter.on_failure,
            timeout_s=milter.timeout_s,
            listeners=milter.listeners,
        )
    for rspamd in config.rspamd:
        password = Path(rspamd.password_file).read_text().splitlines()[:1] if rspamd.password_file else []
        add(
            "rspamd",
            AskedRspamd(rspamd.url, "".join(password)),
            when=rspamd.when,
            on_failure=rspamd.on_failure,
            timeout_s=rspamd.timeout_s,
            listeners=rspamd.listeners,
        )
    return made


def checks(made: Sequence[Scanner], hostname: str, role: str) -> Checks:
    """The checks that ask them on a listener of that role."""
    after = is_examined_later(made, role)
    return HookChecks(made, hostname).checks() + Checks(message=(_to_be_examined,) if after else ())


def is_examined_later(made: Sequence[Scanner], role: str) -> bool:
    """Whether hooks see the messages of that role after the 250, and may still change them."""
    return any(one.settings.is_after and one.hears("message") and role in one.settings.listeners for one in made)


def _to_be_examined(caller: Caller, event: MessageReceived) -> Amended:
    """The message is kept, and delivered once the hooks of the queue have seen it."""
    return Amended(event=event, hold=PENDING)


def notice_all(notices: Notices, message: SpooledMessage, judgement: Judgement) -> None:
    """Tell what became of each recipient of an attempt, where anybody listens."""
    if not notices.is_heard:
        return
    for verdict in judgement.verdicts:
        outcome = verdict.outcome
        notices.tell(
            Settled(
                queue_id=format_queue_id(message.id),
                sender=str(message.envelope.reverse_path),
                recipient=str(verdict.queued.recipient.address),
                outcome=str(verdict.fate),
                said=str(outcome.reply) if outcome.reply is not None else outcome.detail,
                host=outcome.host,
            )
        )
