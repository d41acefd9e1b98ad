"""SPF: may this address send for that domain? (RFC 7208). Pure over what DNS says, which is asked through `Lookup`.

Bounded whatever a record says: ten terms that ask DNS, two of them in vain, ten hosts of an `mx`, ten names of a
`ptr`, all counted over includes and redirects together (§4.6.4); beyond that the record is in error, not the sender.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from postroad.message.dns import AddressAnswer, DnsStatus, Lookup, MxAnswer, NamesAnswer, TextsAnswer
from postroad.message.spf_macro import MacroString, SpfSyntaxError, is_domain, parse_explanation, to_domain
from postroad.message.spf_record import Mechanism, SpfRecord, parse_spf, spf_texts

MAX_LOOKUPS = 10
MAX_VOID_LOOKUPS = 2
MAX_HOSTS = 10
"""Hosts of one `mx`, and names of one address, that are looked at."""
MAX_EXPLANATION_CHARS = 400

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class SpfResult(StrEnum):
    """What a check comes to (§2.6)."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - the field's own word
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_QUALIFIED = {"+": SpfResult.PASS, "-": SpfResult.FAIL, "~": SpfResult.SOFTFAIL, "?": SpfResult.NEUTRAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpfVerdict:
    """`domain`: whose record was asked for. `reason`: what decided, in words, or the mechanism."""

    result: SpfResult
    domain: str
    reason: str = ""
    explanation: str = ""
    """What the domain says to whoever is refused, printable ASCII of bounded length; only with `fail`."""
    sends_nothing: bool = False
    """Whether the record says that the domain sends no mail at all."""


class _PermanentError(Exception):
    """The record is in error."""


class _TemporaryError(Exception):
    """DNS could not say."""


async def check_host(
    ip: str | Ip,
    domain: str,
    sender: str,
    lookup: Lookup,
    *,
    hello: str = "unknown",
    receiver: str = "unknown",
    now: float = 0.0,
) -> SpfVerdict:
    """Judge `ip` by the record of `domain`; `sender` is the mailbox in question, whose local part may be missing.

    For the HELO identity the domain is the name said in HELO and the sender `postmaster@` it (§2.4). `hello`,
    `receiver` (our name) and `now` (wall clock) only serve macros. Never raises for what records say; ValueError for
    an `ip` that is none.
    """
    address = ipaddress.ip_address(ip) if isinstance(ip, str) else ip
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    domain = domain.removesuffix(".").lower()
    if not is_domain(domain) or "." not in domain or domain.startswith("["):
        return SpfVerdict(result=SpfResult.NONE, domain=domain, reason="no domain that could have a record")
    check = _Check(address, domain, sender, lookup, hello=hello, receiver=receiver, now=now)
    try:
        decision = await check.judge(domain)
    except _PermanentError as error:
        return SpfVerdict(result=SpfResult.PERMERROR, domain=domain, reason=str(error))
    except _TemporaryError as error:
        return SpfVerdict(result=SpfResult.TEMPERROR, domain=domain, reason=str(error))
    explanation = await check.explain(decision) if decision.result is SpfResult.FAIL else ""
    return SpfVerdict(
        result=decision.result,
        domain=domain,
        reason=decision.reason,
        explanation=explanation,
        sends_nothing=decision.record is not None and decision.record.sends_nothing,
    )


@dataclass(frozen=True, slots=True)
class _Decision:
    """`domain` and `record`: which one decided, after redirects."""

    result: SpfResult
    domain: str
    reason: str
    record: SpfRecord | None = None


class _Check:
    """One check with what it has used up."""

    def __init__(
        self, ip: Ip, domain: str, sender: str, lookup: Lookup, *, hello: str, receiver: str, now: float
    ) -> None:
        local, at, sender_domain = sender.rpartition("@")
        self._ip = ip
        self._lookup = lookup
        self._lookups = 0
        self._voids = 0
        self._names: list[str] | None = None
        self._local = (local if at else "") or "postmaster"
        self._sender_domain = sender_domain or domain
        self._hello = hello
        self._receiver = receiver
        self._now = now

    async def judge(self, domain: str) -> _Decision:
        """check_host() of §4, without its explanation."""
        origin = ""
        while True:
            record = await self._record(domain)
            if record is None and origin:
                raise _PermanentError(f"the record of {origin} redirects to {domain[:80]}, which has none")
            if record is None:
                return _Decision(SpfResult.NONE, domain, f"{domain} has no SPF record")
            for mechanism in record.mechanisms:
                if await self._matches(mechanism, domain):
                    return _Decision(_QUALIFIED[mechanism.qualifier], domain, mechanism.text, record)
            if record.redirect is None:
                return _Decision(SpfResult.NEUTRAL, domain, "no mechanism matched", record)
            self._spend("redirect")
            origin, domain = domain, await self._target(record.redirect, domain)
            if not domain:
                raise _PermanentError(f"the record of {origin} redirects to a name that is none")

    async def explain(self, decision: _Decision) -> str:
        """What the domain wants the refused to read (§6.2); nothing where anything about it is wrong."""
        template = decision.record.explanation if decision.record is not None else None
        if template is None:
            return ""
        try:
            target = await self._target(template, decision.domain)
            answer = await self._lookup.texts(target) if target else TextsAnswer(DnsStatus.NO_DOMAIN)
            if len(answer.texts) != 1 or not answer.texts[0].isascii():
                return ""
            spoken = parse_explanation(answer.texts[0].decode("ascii"))
            text = spoken.expand(await self._values(spoken, decision.domain))
        except SpfSyntaxError:
            return ""
        printable = "".join(one if " " <= one <= "~" else "?" for one in text[:MAX_EXPLANATION_CHARS])
        return printable.strip()

    # The record ---------------------------------------------------------------------------------------------------

    async def _record(self, domain: str) -> SpfRecord | None:
        answer = await self._lookup.texts(domain)
        if answer.status is DnsStatus.TEMPORARY:
            raise _TemporaryError(f"DNS could not say whether {domain} has an SPF record")
        texts = spf_texts(answer.texts)
        if not texts:
            return None
        if len(texts) > 1:
            raise _PermanentError(f"{domain} has {len(texts)} SPF records")
        try:
            return parse_spf(texts[0])
        except SpfSyntaxError as error:
            raise _PermanentError(f"the SPF record of {domain} is in error: {error}") from None

    # Its mechanisms -----------------------------------------------------------------------------------------------

    async def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        match mechanism.name:
            case "all":
                return True
            case "ip4" | "ip6":
                network = mechanism.network
                return network is not None and network.version == self._ip.version and self._ip in network
        self._spend(mechanism.text)
        target = domain if mechanism.domain is None else await self._target(mechanism.domain, domain)
        match mechanism.name:
            case "include":
                return await self._includes(target)
            case "exists":
                return bool((await self._ask_addresses(target, is_v4=True)).addresses)
            case "a":
                return self._is_among((await self._ask_addresses(target)).addresses, mechanism)
            case "mx":
                return await self._is_mx(target, mechanism)
            case _:
                return await self._is_named(target)

    async def _includes(self, target: str) -> bool:
        if not target:
            raise _PermanentError("an included domain is none")
        decision = await self.judge(target)
        if decision.result is SpfResult.NONE:
            raise _PermanentError(f"the included {target} has no SPF record")
        return decision.result is SpfResult.PASS

    async def _is_mx(self, target: str, mechanism: Mechanism) -> bool:
        answer = await self._lookup.mx(target) if target else MxAnswer(DnsStatus.NO_DOMAIN)
        self._note(answer.status, f"the MX records of {target}")
        hosts = [host for _, host in answer.records if host]
        if len(hosts) > MAX_HOSTS:
            raise _PermanentError(f"{target} has more than {MAX_HOSTS} MX records")
        for host in hosts:
            if self._is_among((await self._ask_addresses(host)).addresses, mechanism):
                return True
        return False

    async def _is_named(self, target: str) -> bool:
        names = await self._validated_names()
        return bool(target) and any(name == target or name.endswith(f".{target}") for name in names)

    def _is_among(self, addresses: tuple[str, ...], mechanism: Mechanism) -> bool:
        prefix = mechanism.prefix_v4 if self._ip.version == 4 else mechanism.prefix_v6
        shift = self._ip.max_prefixlen - prefix
        wanted = int(self._ip) >> shift
        found = map(ipaddress.ip_address, addresses)
        return any(one.version == self._ip.version and int(one) >> shift == wanted for one in found)

    # DNS ----------------------------------------------------------------------------------------------------------

    def _spend(self, term: str) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise _PermanentError(f"more than {MAX_LOOKUPS} terms ask DNS, the last of them {term[:80]}")

    def _note(self, status: DnsStatus, what: str) -> None:
        """Count an answer."""
        if status is DnsStatus.TEMPORARY:
            raise _TemporaryError(f"DNS could not say {what}")
        if status is not DnsStatus.FOUND:
            self._voids += 1
            if self._voids > MAX_VOID_LOOKUPS:
                raise _PermanentError(f"more than {MAX_VOID_LOOKUPS} questions to DNS found nothing, the last {what}")

    async def _ask_addresses(self, host: str, *, is_v4: bool = False) -> AddressAnswer:
        if not is_domain(host):
            answer = AddressAnswer(DnsStatus.NO_DOMAIN)
        elif is_v4 or self._ip.version == 4:
            answer = await self._lookup.addresses_v4(host)
        else:
            answer = await self._lookup.addresses_v6(host)
        self._note(answer.status, f"the addresses of {host}")
        return answer

    async def _validated_names(self) -> list[str]:
        """The names of the address that lead back to it; asked for once (§5.5). What fails is no name."""
        if self._names is None:
            self._names = []
            named: NamesAnswer = await self._lookup.names(str(self._ip))
            for name in named.names[:MAX_HOSTS]:
                if not is_domain(name):
                    continue
                asked = self._lookup.addresses_v4 if self._ip.version == 4 else self._lookup.addresses_v6
                found = await asked(name)
                if any(ipaddress.ip_address(one) == self._ip for one in found.addresses):
                    self._names.append(name.lower())
        return self._names

    # Macros -------------------------------------------------------------------------------------------------------

    async def _target(self, template: MacroString, domain: str) -> str:
        return to_domain(template.expand(await self._values(template, domain)))

    async def _values(self, template: MacroString, domain: str) -> dict[str, str]:
        values = {
            "s": f"{self._local}@{self._sender_domain}",
            "l": self._local,
            "o": self._sender_domain,
            "d": domain,
            "i": _dotted(self._ip),
            "v": "in-addr" if self._ip.version == 4 else "ip6",
            "h": self._hello,
            "c": str(self._ip),
            "r": self._receiver,
            "t": str(int(self._now)),
        }
        if "p" in template.letters:
            values["p"] = self._best_name(await self._validated_names(), domain)
        return values

    def _best_name(self, names: list[str], domain: str) -> str:
        if domain in names:
            return domain
        return next((name for name in names if name.endswith(f".{domain}")), names[0] if names else "unknown")


def _dotted(ip: Ip) -> str:
    return str(ip) if ip.version == 4 else ".".join(ip.exploded.replace(":", "").upper())
