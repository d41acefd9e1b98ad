"""One recipient, asked about while its sender waits: is there any use in taking the message?

What is known already answers at once; else the host is asked, politely and for so long as the sender can wait. Only a
verdict that the mailbox or its domain does not exist speaks against the recipient: what is not known is taken. Used by
worker.py, for the check at submission.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from postroad.net.resolver import Resolver
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.verify.job import Job
from postroad.verify.memory import Memory
from postroad.verify.settings import VerifySettings
from postroad.verify.source import MemorySource
from postroad.verify.verdict import Judgement, Verdict

MAX_ASKING = 100
"""Recipients asked about at a time; beyond it they are taken unasked."""
_ABOUT_DOMAIN = frozenset({"no_domain", "no_mail_host", "null_mx", "domain_unknown", "private_address", "loop"})
_MAX_WORDS = 300


class AskingFirst:
    """One for a worker. `memory` makes what is known beforehand, for each question anew."""

    def __init__(
        self,
        settings: VerifySettings,
        resolver: Resolver,
        *,
        memory: Callable[[], Memory],
        rng: random.Random,
        wait_s: float,
    ) -> None:
        self._settings = settings
        self._resolver = resolver
        self._memory = memory
        self._rng = rng
        self._wait_s = wait_s
        self._asking: dict[str, asyncio.Task[Verdict | None]] = {}

    async def refusal(self, address: Address) -> Reply | None:
        """Why mail to that address would come back; None: it would not, or nobody knows."""
        verdict = await self.verdict(address)
        return None if verdict is None else refusal(verdict)

    async def verdict(self, address: Address) -> Verdict | None:
        """The verdict, if it is found in time; several who ask about one address ask once."""
        name = str(address)
        task = self._asking.get(name)
        if task is None:
            if len(self._asking) >= MAX_ASKING:
                return None
            task = self._asking[name] = asyncio.get_running_loop().create_task(self._ask(name))
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        done, _ = await asyncio.wait([task], timeout=self._wait_s)
        return task.result() if done and not task.cancelled() and task.exception() is None else None

    async def _ask(self, name: str) -> Verdict | None:
        source = MemorySource([name])
        job = Job(self._settings, self._resolver, source, rng=self._rng, memory=self._memory())
        # A host that has not answered by then is left in good order: the session ends by QUIT.
        late = asyncio.get_running_loop().call_later(self._wait_s, job.stop)
        try:
            await job.run()
        finally:
            late.cancel()
        return next(iter(source.verdicts()), None)

    async def close(self) -> None:
        """Ask nobody any more."""
        for task in list(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)


def refusal(verdict: Verdict) -> Reply | None:
    """The reply to a recipient on whom that verdict was given: the real reason, where it is undeliverable."""
    if verdict.verdict is not Judgement.UNDELIVERABLE:
        return None
    proof = verdict.proof
    words = " ".join(proof.reply)
    told = f"{proof.host} said: {words}" if words else proof.detail or verdict.reason.replace("_", " ")
    is_domain = verdict.reason in _ABOUT_DOMAIN
    what = "the domain takes no mail" if is_domain else "there is no such mailbox"
    if verdict.reason == "bounced":
        what = "mail to this address came back"
    sentence = f"{verdict.address}: {what} ({told[:_MAX_WORDS]})"
    return reply(550, _one_line(sentence), "5.1.2" if is_domain else "5.1.1")


def _one_line(text: str) -> str:
    """Words of others in a reply of ours: printable ASCII on one line."""
    return "".join(one if " " <= one <= "~" else "?" for one in text)
