"""What a notification says to people: a sentence on what happened, and one on what to do about it. Pure.

By what the refusal means, whose names are those of `meaning.rule.Kind`; this room does not know that one, and a test
holds the two together. `{host}` is the host that spoke, `{address}` the recipient. Used by `dsn` alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """`happened`, and `advice` once nothing more is tried; `waiting` while it is."""

    happened: str
    advice: str
    waiting: str = "It is tried again; there is nothing for you to do."


WORDS: dict[str, Words] = {
    "mailbox_unknown": Words(
        "{host} says that there is no mailbox {address}.",
        "Look at the address for a typing mistake; if it is right, ask the recipient by another way where to write.",
    ),
    "mailbox_disabled": Words(
        "{host} says that the mailbox {address} is closed.",
        "The recipient does not read mail there any more: ask him by another way where to write.",
    ),
    "mailbox_full": Words(
        "{host} says that the mailbox {address} is full.",
        "Tell the recipient by another way, and send the message again when there is room.",
        "It is tried again, now and then: perhaps the recipient makes room. You may tell him by another way.",
    ),
    "domain_unknown": Words(
        "There is no domain of that name that takes mail.",
        "Look at what stands after the @ for a typing mistake.",
    ),
    "relay_denied": Words(
        "{host} does not take mail for {address}.",
        "The domain's records lead to a host that does not serve it: its owner must mend that. Ask him by another way.",
    ),
    "greylisted": Words(
        "{host} asks everybody whom it does not know yet to come again later.",
        "It went on asking for that until the time was over. Send the message again, or write by another way.",
        "That is usual, and the message is tried again soon; there is nothing for you to do.",
    ),
    "rate_limited": Words(
        "{host} says that it gets more mail from here than it takes now.",
        "It did not take the message before the time was over: send it again later, or less at a time.",
        "The message is tried again more slowly; there is nothing for you to do.",
    ),
    "blocked_reputation": Words(
        "{host} refuses mail from this server, whatever it says: it does not trust the server's address or name.",
        "The message itself is not at fault: show this to whoever runs your mail server.",
    ),
    "policy_content": Words(
        "{host} refuses this message for what it is or holds: a rule of its own, or it looks like spam.",
        "Read its words below. It may help to leave out attachments and links, or to write to the recipient first.",
    ),
    "auth_required": Words(
        "{host} takes mail for {address} only from those who sign in there.",
        "That address may be for members of its organisation alone: ask the recipient for another one.",
    ),
    "tls_required": Words(
        "The message could not be sent over a connection as secure as the sender, or {host}, asks for.",
        "Show this to whoever runs your mail server, or write by another way.",
    ),
    "message_too_big": Words(
        "{host} does not take a message of that size.",
        "Send it without large attachments: put them where the recipient can fetch them.",
    ),
    "system_temporary": Words(
        "{host} had trouble of its own, or could not be reached.",
        "That did not end before the time was over: send the message again later, or write by another way.",
    ),
    "system_permanent": Words(
        "{host} says that it cannot handle this message, for a fault of its own.",
        "Send it again later; if it comes back again, ask the recipient by another way.",
    ),
    "unclear": Words(
        "{host} did not take the message, and does not say plainly why.",
        "Its words are below: ask the recipient by another way, or whoever runs your mail server.",
    ),
}
EXPIRED = Words(
    "The time within which it was to be delivered is over.",
    "You asked for that time when you sent it: send it again if it is still of use.",
)
_NOBODY = "The next host"


def sentences(meaning: str, *, host: str, address: str, is_final: bool, is_expired: bool = False) -> list[str]:
    """What happened, and what to do; nothing for a meaning that has no words, such as that of an acceptance."""
    words = EXPIRED if is_expired else WORDS.get(meaning)
    if words is None or (meaning == "unclear" and not host):  # our own words, which say it themselves
        return []
    named = f"The host {host}" if host else _NOBODY
    happened = words.happened.format(host=named, address=address)
    return [happened, words.advice if is_final else words.waiting]


def tried(attempts: int, *, is_final: bool) -> str:
    """How often it was tried, where that is worth a sentence."""
    if attempts <= 1:
        return ""
    return f"It was tried {attempts} times" + ("." if is_final else " so far.")
