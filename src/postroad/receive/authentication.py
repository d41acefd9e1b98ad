"""The checks of whose mail it is: SPF, DKIM, ARC and DMARC of each message on the MX port, within a time limit.

Joins the pure judges of `message/` with DNS and time; `findings` says what follows. At MAIL, the sender's domain: one
that takes no mail (null MX, RFC 7505) or does not exist could never be answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from postroad.events import emit
from postroad.message import arc, dkim, dmarc, spf
from postroad.message.authentication_results import AuthenticationResults, results_header, without_results_of
from postroad.message.author import authors
from postroad.message.dns import DnsStatus, Lookup, TextsAnswer
from postroad.message.headers import header_line, header_section, unfold
from postroad.receive.caller import Authenticated, Caller
from postroad.receive.checks import Amended
from postroad.receive.findings import Findings, Measures, consequence, identifiers, method_results
from postroad.receive.guard.networks import Networks
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import MailReceived, MessageReceived

QUARANTINE = "X-Postroad-Quarantine"
THREAD_OCTETS = 32_768
"""Messages from this size on are hashed in a thread."""

_NULL_MX = ((0, ""),)
_TAKES_NO_MAIL = reply(550, "The domain of the sender takes no mail (null MX), so nobody could answer", "5.7.27")
_NO_SUCH_DOMAIN = reply(550, "The domain of the sender does not exist, or has no host that takes mail", "5.1.8")
_NO_SUCH_DOMAIN_NOW = reply(450, "The domain of the sender cannot be found: try again later", "4.1.8")
_TOO_LATE = "DNS did not answer in time"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationSettings:
    """`authserv_id`: who we are in Authentication-Results, in lower case. `exempt`: who is not looked at."""

    authserv_id: str
    hostname: str
    measures: Measures = field(default_factory=Measures)
    timeout_s: float = 20.0
    exempt: Networks = field(default_factory=Networks)
    refuses_null_mx: bool = True
    missing_domain: Literal["accept", "defer", "refuse"] = "accept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """The checks of an MX listener. `lookup`: who answers for DNS now; `now`: wall clock."""

    settings: AuthenticationSettings
    lookup: Callable[[], Lookup]
    now: Callable[[], float]
    is_public_suffix: Callable[[str], bool] = dmarc.is_single_label

    # At MAIL ------------------------------------------------------------------------------------------------------

    def mail(self, caller: Caller, event: MailReceived) -> Awaitable[Reply | None] | None:
        """Refuse senders to whose domain no mail could go back."""
        path, settings = event.reverse_path, self.settings
        is_asked = settings.refuses_null_mx or settings.missing_domain != "accept"
        if not is_asked or not isinstance(path, Address) or path.is_literal or caller.peer in settings.exempt:
            return None
        return self._judge_domain(path.domain)

    async def _judge_domain(self, domain: str) -> Reply | None:
        settings, lookup = self.settings, self.lookup()
        try:
            async with asyncio.timeout(settings.timeout_s):
                found = await lookup.mx(domain)
                if found.records == _NULL_MX:
                    return _TAKES_NO_MAIL if settings.refuses_null_mx else None
                if found.status in (DnsStatus.FOUND, DnsStatus.TEMPORARY) or settings.missing_domain == "accept":
                    return None
                if found.status is DnsStatus.NO_DATA and await _has_address(lookup, domain):
                    return None
        except TimeoutError:
            return None
        return _NO_SUCH_DOMAIN if settings.missing_domain == "refuse" else _NO_SUCH_DOMAIN_NOW

    # At the end of the message ------------------------------------------------------------------------------------

    def message(self, caller: Caller, event: MessageReceived) -> Amended | Awaitable[Reply | Amended | None] | None:
        """Judge a message, and write down what was found."""
        caller.authenticated = None
        if caller.peer in self.settings.exempt or not _is_ip(caller.peer):
            return without_forged(self.settings.authserv_id, event)
        return self._judge(caller, event)

    async def _judge(self, caller: Caller, event: MessageReceived) -> Reply | Amended:
        settings = self.settings
        found = await self.findings(caller, event)
        done = consequence(found, settings.measures)
        emit(
            "authentication.result",
            peer=caller.peer,
            sender=found.sender,
            author=found.author,
            spf=str(found.spf.result),
            dkim=",".join(f"{one.domain}:{one.verdict}" for one in found.dkim) or "none",
            arc=str(found.arc.verdict),
            dmarc=str(found.dmarc_result),
            policy=str(found.dmarc.policy if found.dmarc is not None else "none"),
            action=done.action,
        )
        if done.refusal is not None:
            return done.refusal
        results = AuthenticationResults(settings.authserv_id, method_results(found, done))
        above = results_header(results)
        caller.authenticated = Authenticated(found.arc, " ".join(unfold(above.partition(b":")[2]).split()))
        if done.quarantine:
            above += header_line(QUARANTINE, done.quarantine)
        amended = without_forged(settings.authserv_id, event)
        hold = f"quarantine: {done.quarantine}" if done.action == "held" else ""
        return Amended(event=event if amended is None else amended.event, above=above, hold=hold)

    async def findings(self, caller: Caller, event: MessageReceived) -> Findings:
        """All that can be found out within the time limit; the rest is `temperror`."""
        deadline = asyncio.get_running_loop().time() + self.settings.timeout_s
        lookup, reverse_path = self.lookup(), event.mail.reverse_path
        path = reverse_path if isinstance(reverse_path, Address) else None
        section = b"\n" + header_section(event.body).lower()
        signatures: list[dkim.DkimResult] = []
        chain = arc.ArcResult(verdict=arc.Chain.NONE)
        if b"\ndkim-signature" in section or b"\narc-" in section:
            (verdict, hello), signatures, chain = await asyncio.gather(
                self._spf(caller, path, lookup, deadline),
                self._dkim(event.body, lookup, deadline),
                self._arc(event.body, lookup, deadline) if b"\narc-" in section else _the(chain),
            )
        else:
            verdict, hello = await self._spf(caller, path, lookup, deadline)
        author, problem = author_domain(event.body)
        judged = None
        if author:
            late = dmarc.DmarcVerdict(result=dmarc.DmarcResult.TEMPERROR, domain=author, reason=_TOO_LATE)
            wanted = dmarc.evaluate(
                author, identifiers(verdict, signatures), lookup, is_public_suffix=self.is_public_suffix
            )
            judged = await _within(deadline, wanted, late)
        return Findings(
            peer=caller.peer,
            sender=str(reverse_path),
            spf=verdict,
            spf_hello=hello,
            dkim=signatures,
            arc=chain,
            author=author,
            problem=problem,
            dmarc=judged,
        )

    async def _spf(
        self, caller: Caller, path: Address | None, lookup: Lookup, deadline: float
    ) -> tuple[spf.SpfVerdict, spf.SpfVerdict | None]:
        """Of the reverse-path and of the HELO name; of that alone where the path is null."""
        hello = caller.hello.lower().removesuffix(".")
        of_hello = await self._check_host(caller, hello, f"postmaster@{hello}", lookup, deadline)
        if path is None:
            return of_hello, None
        return await self._check_host(caller, path.domain, f"{path.local}@{path.domain}", lookup, deadline), of_hello

    async def _check_host(
        self, caller: Caller, domain: str, sender: str, lookup: Lookup, deadline: float
    ) -> spf.SpfVerdict:
        late = spf.SpfVerdict(result=spf.SpfResult.TEMPERROR, domain=domain, reason=_TOO_LATE)
        wanted = spf.check_host(
            caller.peer,
            domain,
            sender,
            lookup,
            hello=caller.hello,
            receiver=self.settings.hostname,
            now=self.now(),
        )
        return await _within(deadline, wanted, late)

    async def _dkim(self, body: bytes, lookup: Lookup, deadline: float) -> list[dkim.DkimResult]:
        late = [dkim.DkimResult(verdict=dkim.Verdict.TEMPERROR, reason=_TOO_LATE)]
        wanted = _aside(lookup, len(body), lambda texts: dkim.verify(body, texts, now=self.now()))
        return await _within(deadline, wanted, late)

    async def _arc(self, body: bytes, lookup: Lookup, deadline: float) -> arc.ArcResult:
        late = arc.ArcResult(verdict=arc.Chain.TEMPERROR, reason=_TOO_LATE)
        wanted = _aside(lookup, len(body), lambda texts: arc.validate(body, texts))
        return await _within(deadline, wanted, late)


def author_domain(message: bytes) -> tuple[str, str]:
    """The one domain of the authors; or nothing, and why the message names none (A-03)."""
    written_by, fields = authors(message)
    if fields != 1:
        return "", f"there are {fields} of them" if fields else "there is none"
    domains = {one.domain for one in written_by}
    if not domains:
        return "", "no address can be read in it"
    if len(domains) > 1:
        return "", f"its authors are of {len(domains)} domains"
    return domains.pop(), ""


@dataclass(frozen=True, slots=True)
class CleaningCheck:
    """On the submission ports, where nothing is judged: users do not speak for us either (A-05)."""

    authserv_id: str

    def message(self, caller: Caller, event: MessageReceived) -> Amended | None:
        """Take out what claims to be by us."""
        return without_forged(self.authserv_id, event)


def without_forged(authserv_id: str, event: MessageReceived) -> Amended | None:
    """Take out what claims to be by us and came from outside (A-05)."""
    body = without_results_of(event.body, (authserv_id,))
    return None if body is event.body else Amended(event=replace(event, body=body))


async def _within(deadline: float, wanted: Awaitable[T], late: T) -> T:
    """The answer, or what stands for it once it is too late. `deadline`: loop time."""
    try:
        async with asyncio.timeout_at(deadline):
            return await wanted
    except TimeoutError:
        return late


async def _the(value: T) -> T:
    """What is known already."""
    return value


async def _has_address(lookup: Lookup, domain: str) -> bool:
    """Whether mail could go to the domain itself, where DNS can say."""
    for asked in (lookup.addresses_v4, lookup.addresses_v6):
        if (await asked(domain)).status in (DnsStatus.FOUND, DnsStatus.TEMPORARY):
            return True
    return False


def _is_ip(peer: str) -> bool:
    try:
        ipaddress.ip_address(peer)
    except ValueError:
        return False
    return True


# A judge of long messages in a thread --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    """Asked by a judge in a thread, answered on the event loop."""

    name: str

    def __await__(self) -> Generator[_Question, TextsAnswer, TextsAnswer]:
        return (yield self)


async def _asked_aside(name: str) -> TextsAnswer:
    return await _Question(name)


async def _aside(
    lookup: Lookup, octets: int, judge: Callable[[Callable[[str], Awaitable[TextsAnswer]]], Coroutine[Any, Any, T]]
) -> T:
    """Run a judge here; that of a long message in a thread, with its questions to DNS asked here."""
    if octets < THREAD_OCTETS:
        return await judge(lookup.texts)
    judging = judge(_asked_aside)
    answer: TextsAnswer | None = None
    try:
        while True:
            question, verdict = await asyncio.to_thread(_step, judging, answer)
            if question is None:
                return verdict[0]
            answer = await lookup.texts(question.name)
    finally:
        with contextlib.suppress(ValueError):  # it may still run in its thread, and ends at its next question
            judging.close()


def _step(judging: Coroutine[Any, Any, T], answer: TextsAnswer | None) -> tuple[_Question | None, list[T]]:
    """Until the next question, or to the verdict."""
    try:
        return judging.send(answer), []
    except StopIteration as done:
        return None, [done.value]
