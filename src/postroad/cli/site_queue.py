"""What `postroad site show` tells beside the site itself: what waits for it in the queue, and what each source sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postroad.cli.guard import stamp
from postroad.cli.queue_show import count_of, queue_of
from postroad.compose.shaping import source_pools
from postroad.compose.source_house import day_of
from postroad.store.queue_selection import Selection

if TYPE_CHECKING:
    from postroad.config import Config
    from postroad.store.site_book import SiteBook


def waiting_for(config: Config, key: str, now: float) -> list[dict[str, Any]]:
    """What waits in the queue for a site, by reason: what a host of it said last, or why we have not asked yet."""
    directory = Path(config.server.state_dir) / "spool"
    if not directory.is_dir():
        return []
    with queue_of(directory) as admin:
        groups = [
            one
            for selection in (Selection(site=key), Selection(reason=f"the site {key} "))
            for one in admin.summary("reason", selection, now=now)
        ]
    return [
        {
            "reason": one.key,
            "recipients": one.recipients,
            "messages": one.messages,
            "next_at": None if one.next_due_at is None else stamp(one.next_due_at),
            "words": one.reason,
        }
        for one in groups
    ]


def queue_lines(waiting: Sequence[dict[str, Any]]) -> list[str]:
    """The same for people."""
    if not waiting:
        return ["Nothing waits for it in the queue."]
    lines = ["In the queue:"]
    for one in waiting:
        next_at = "" if one["next_at"] is None else f", next at {one['next_at']}"
        recipients, messages = count_of(one["recipients"], "recipient"), count_of(one["messages"], "message")
        lines.append(f"  {recipients} of {messages}{next_at} ({one['reason']})")
        if one["words"]:
            lines.append(f"    {one['words']}")
    return lines


def sent_by_sources(config: Config, book: SiteBook, key: str, now: float) -> list[dict[str, Any]]:
    """What each source has sent today: in all and to that site, and its quota where it is being warmed up."""
    sources = {source.name: source for pool in source_pools(config) for source in pool.sources}
    if not sources:
        return []
    day = day_of(now)
    used, first_days = book.used(day), book.first_days()
    return [
        {
            "source": name,
            "sent_today": used.get((name, ""), 0),
            "sent_here_today": used.get((name, key), 0),
            "quota": source.quota(day, first_days),
            "quota_is_per_site": source.warm_up is not None and source.warm_up.is_per_site,
        }
        for name, source in sources.items()
    ]


def source_lines(sent: Sequence[dict[str, Any]]) -> list[str]:
    """The same for people."""
    if not sent:
        return []
    lines = ["Sent today (UTC), from each source:"]
    for one in sent:
        quota = "" if one["quota"] is None else f" of {one['quota']}"
        here, in_all = (quota, "") if one["quota_is_per_site"] else ("", quota)
        lines.append(
            f"  {one['source']}: {one['sent_here_today']}{here} to this site, {one['sent_today']}{in_all} in all"
        )
    return lines
