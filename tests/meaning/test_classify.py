"""What replies mean: every rule by its own examples, and what must hold whatever a host says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.meaning.classify import Kind, Meaning, Rule, Scope, classify, classify_text, parse_example, rules
from postroad.road import route
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, reply
from postroad.smtp.status import EnhancedStatus

REPLIES = Path(__file__).parents[2].parent / "shared/corpora/replies/replies.dev.jsonl"
EXAMPLES = [(rule, example) for rule in rules() for example in rule.examples]
BEFORE_RCPT = [Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.AUTH, Phase.MAIL]


def meaning_of_example(example: str, provider: str | None = None) -> Meaning:
    phase, code, text = example.split(" ", 2)
    if code == "-":
        return classify_text(Phase(phase), text, None, provider)
    return classify(*parse_example(example), provider)


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=[f"{rule.name}: {example}" for rule, example in EXAMPLES])
def test_every_rule_decides_its_examples(rule: Rule, example: str) -> None:
    meaning = meaning_of_example(example, rule.provider)
    assert meaning.rule == rule.name
    assert meaning.kind is rule.kind


def test_rules_have_names_of_their_own_and_examples() -> None:
    assert [name for name, count in Counter(rule.name for rule in rules()).items() if count > 1] == []
    assert [rule.name for rule in rules() if not rule.examples] == []


def test_a_provider_known_to_say_unknown_user_of_filtered_mail_proves_nothing_by_it() -> None:
    said = reply(550, "Unknown user", "5.1.1")
    assert classify(Phase.RCPT, said).suppress
    meaning = classify(Phase.RCPT, said, "docomo")
    assert meaning.kind is Kind.UNCLEAR and meaning.mailbox == "unknown" and not meaning.suppress


def test_every_kind_can_come_out() -> None:
    found = {meaning_of_example(example).kind for _, example in EXAMPLES}
    assert found | {Kind.ACCEPTED, Kind.UNCLEAR} == set(Kind)


@pytest.mark.parametrize("phase", BEFORE_RCPT)
@pytest.mark.parametrize("code", [421, 450, 451, 550, 553, 554])
@pytest.mark.parametrize("text", ["5.1.1 No such user here", "Mailbox full", "mailbox disabled", "User unknown"])
def test_v01_a_refusal_before_rcpt_says_nothing_of_the_mailbox(phase: Phase, code: int, text: str) -> None:
    status = EnhancedStatus(code // 100, 1, 1)
    meaning = classify(phase, Reply(code, (text,), status))
    assert meaning.mailbox == "unknown"
    assert not meaning.suppress


@pytest.mark.parametrize(
    "line",
    [
        "rcpt 550 5.7.1 Client host rejected: cannot find your reverse hostname",
        "rcpt 550 5.1.1 Your IP 192.0.2.1 is blocked, mailbox unavailable",
        "rcpt 550 5.7.25 no PTR record, user unknown",
        "rcpt 550 SPF check failed, recipient rejected",
        "rcpt 554 5.7.1 Sender has a poor reputation; no such mailbox for you",
        "rcpt 550 5.7.1 Access denied",
        "rcpt 550 5.7.1 Relaying denied: unknown user",
        "rcpt 530 5.7.0 Authentication required",
        "rcpt 550 Too many messages from you today",
    ],
)
def test_v02_a_refusal_about_us_says_nothing_of_the_mailbox(line: str) -> None:
    meaning = classify(*parse_example(line))
    assert meaning.mailbox == "unknown", meaning
    assert not meaning.suppress


@pytest.mark.parametrize(
    "line", ["rcpt 450 4.1.1 User unknown", "rcpt 451 Mailbox disabled", "rcpt 421 5.1.1 no such user"]
)
def test_v03_a_4yz_is_no_verdict_on_the_mailbox(line: str) -> None:
    meaning = classify(*parse_example(line))
    assert meaning.mailbox == "unknown"
    assert meaning.retry
    assert meaning.bounce == "soft"


def test_v03_a_full_mailbox_is_known_to_be_full_either_way() -> None:
    for line in ("rcpt 452 4.2.2 Mailbox full", "rcpt 552 5.2.2 Mailbox full"):
        assert classify(*parse_example(line)).mailbox == "full"


def test_no_reply_is_temporary_and_tells_of_the_connection() -> None:
    for phase in Phase:
        meaning = classify(phase, None)
        assert meaning.kind is Kind.SYSTEM_TEMPORARY
        assert meaning.scope is Scope.CONNECTION
        assert meaning.retry
        assert meaning.mailbox == "unknown"


def test_acceptance() -> None:
    assert classify(Phase.RCPT, Reply(250)).mailbox == "exists"
    assert classify(Phase.BODY, Reply(250)).kind is Kind.ACCEPTED
    assert classify(Phase.RCPT, Reply(252)).kind is Kind.ACCEPTED
    assert classify(Phase.MAIL, Reply(250)).mailbox == "unknown"
    assert not classify(Phase.BODY, Reply(250)).retry


def test_a_hard_refusal_of_a_mailbox_suppresses_it() -> None:
    meaning = classify(Phase.RCPT, reply(550, "User unknown", "5.1.1"))
    assert (meaning.bounce, meaning.retry, meaning.suppress, meaning.mailbox) == ("hard", False, True, "absent")
    assert meaning.scope is Scope.RECIPIENT


def test_an_unclear_5yz_is_not_tried_again_but_condemns_nobody() -> None:
    meaning = classify(Phase.RCPT, Reply(550, ("Zork",)))
    assert meaning.kind is Kind.UNCLEAR
    assert (meaning.bounce, meaning.retry, meaning.suppress, meaning.mailbox) == ("hard", False, False, "unknown")


def test_c06_421_is_about_the_connection() -> None:
    for phase in Phase:
        meaning = classify(phase, Reply(421, ("closing",)))
        assert meaning.scope is Scope.CONNECTION
        assert meaning.retry


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.GREETING, Phase.EHLO])
def test_a_5yz_at_the_door_is_tried_again(phase: Phase) -> None:
    meaning = classify(phase, reply(554, "Go away"))
    assert meaning.retry
    assert meaning.scope is Scope.HOST


@pytest.mark.parametrize("code", [0, 42, 199, 354, 600, 999])
def test_h10_odd_codes_are_temporary(code: int) -> None:
    assert classify(Phase.RCPT, Reply(code)).retry


@pytest.mark.parametrize(
    ("failure", "kind", "retry"),
    [
        (route.NULL_MX, Kind.DOMAIN_UNKNOWN, False),
        (route.NO_DOMAIN, Kind.DOMAIN_UNKNOWN, False),
        (route.NO_MAIL_HOST, Kind.DOMAIN_UNKNOWN, False),
        (route.LOOP, Kind.SYSTEM_PERMANENT, False),
        (route.PRIVATE, Kind.SYSTEM_PERMANENT, False),
        (route.dns_trouble("SERVFAIL"), Kind.SYSTEM_TEMPORARY, True),
        (route.dns_trouble("no such domain, host not found"), Kind.SYSTEM_TEMPORARY, True),
    ],
    ids=lambda value: getattr(value, "reason", str(value)),
)
def test_c05_what_dns_says(failure: route.RouteFailure, kind: Kind, retry: bool) -> None:
    meaning = classify(Phase.DNS, failure.reply)
    assert meaning.kind is kind
    assert meaning.retry is retry
    assert not meaning.suppress or kind is Kind.DOMAIN_UNKNOWN


def test_greylisting_tells_for_how_long() -> None:
    assert classify(Phase.RCPT, reply(451, "Greylisted, try again in 5 minutes", "4.7.1")).retry_after_s == 300
    assert classify(Phase.RCPT, reply(451, "Greylisted")).retry_after_s is None
    assert classify(Phase.RCPT, reply(550, "Greylisted for 5 minutes; retry in 300 seconds")).retry_after_s is None


def test_an_enhanced_status_within_the_text_is_read_too() -> None:
    assert classify(Phase.RCPT, Reply(550, ("5.1.1 sorry",))).kind is Kind.MAILBOX_UNKNOWN


@given(
    st.sampled_from(list(Phase)),
    st.integers(0, 999),
    st.lists(st.text(max_size=200), max_size=4),
    st.one_of(st.none(), st.builds(EnhancedStatus, st.integers(0, 9), st.integers(0, 9), st.integers(0, 99))),
)
def test_never_raises_and_never_contradicts_itself(
    phase: Phase, code: int, lines: list[str], status: EnhancedStatus | None
) -> None:
    meaning = classify(phase, Reply(code, tuple(lines), status))
    assert 0 <= meaning.confidence <= 1
    is_go_on = 300 <= code < 400 and phase in (Phase.DATA, Phase.AUTH)
    assert (meaning.kind is Kind.ACCEPTED) == (200 <= code < 300 or is_go_on)
    if meaning.suppress:
        assert meaning.bounce == "hard"
        assert not meaning.retry
    if 400 <= code < 500:
        assert meaning.retry
        assert meaning.mailbox in ("unknown", "full")


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "user " * 20_000,
        "blocked ip " * 9_000,
        "192.0.2.1 " * 9_000,
        "@" * 9_000,
        "x:" * 9_000,
        "a@" * 9_000,
    ],
)
def test_h10_long_texts_take_bounded_work(text: str) -> None:
    assert classify(Phase.RCPT, Reply(550, (text,))).kind in Kind


def test_real_replies_are_mostly_read_right() -> None:
    if not REPLIES.exists():
        pytest.skip("the corpus of replies is not on this machine")
    scored, agreed = Counter[str](), Counter[str]()
    for line in REPLIES.read_text("utf-8").splitlines():
        row = json.loads(line)
        if not row["scorable"]:
            continue
        said = Reply(row["code"], (row["text"],), EnhancedStatus.parse(row["enhanced"] or ""))
        scored[row["class"]] += 1
        agreed[row["class"]] += classify(Phase.RCPT, said).kind == row["class"]
    assert agreed.total() >= 0.95 * scored.total()
    assert [name for name, count in scored.items() if agreed[name] <= 0.85 * count] == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (
            "rcpt 550 5.7.1 Service unavailable; client [192.0.2.1] blocked using bl.example.net",
            Kind.BLOCKED_REPUTATION,
        ),
        ("rcpt 550 5.1.1 Mailbox unavailable. Your IP address 192.0.2.1 is blacklisted", Kind.BLOCKED_REPUTATION),
        ("rcpt 550 5.1.1 Message refused, DMARC verification failed", Kind.POLICY_CONTENT),
        ("rcpt 552 5.1.1 The mailbox is over quota", Kind.MAILBOX_FULL),
        ("rcpt 550 5.7.1 No such user", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 5.7.1 Recipient address rejected: user is suspended", Kind.MAILBOX_DISABLED),
        ("rcpt 554 5.1.1 Relay access denied", Kind.RELAY_DENIED),
        ("rcpt 550 5.2.1 Too many connections from you", Kind.RATE_LIMITED),
        ("rcpt 421 4.7.0 Rate limited because your address has no PTR record", Kind.BLOCKED_REPUTATION),
    ],
)
def test_text_decides_over_code(line: str, kind: Kind) -> None:
    assert classify(*parse_example(line)).kind is kind


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("rcpt 554 5.7.1 <a@example.org>: Recipient address rejected: Access denied", Kind.POLICY_CONTENT),
        ("rcpt 554 5.7.1 <a@example.org>: Recipient address rejected: Blocked by policy", Kind.POLICY_CONTENT),
        ("rcpt 554 5.7.1 <a@example.org>: Recipient address rejected: Blocked", Kind.POLICY_CONTENT),
        ("rcpt 554 5.7.1 <a@example.org>: Recipient address rejected: No.", Kind.POLICY_CONTENT),
        ("rcpt 554 5.7.1 Recipient address rejected: Access denied for your host", Kind.BLOCKED_REPUTATION),
        ("rcpt 550 User unknown - harvest attack detected", Kind.BLOCKED_REPUTATION),
        ("rcpt 550 Directory harvest attack: user unknown", Kind.BLOCKED_REPUTATION),
        ("rcpt 550 Recipient unknown; 192.0.2.1 is blocked", Kind.BLOCKED_REPUTATION),
        ("rcpt 550 Invalid recipient or not authorised to send to it", Kind.UNCLEAR),
        ("rcpt 550 Mailbox unavailable or access denied", Kind.UNCLEAR),
        ("rcpt 550 unknown user or greylisted", Kind.UNCLEAR),
        ("rcpt 450 unknown user or greylisted", Kind.GREYLISTED),
        ("rcpt 450 user unknown in relay table: temporary lookup failure", Kind.SYSTEM_TEMPORARY),
        ("rcpt 550 user unknown in relay table: temporary lookup failure", Kind.SYSTEM_TEMPORARY),
        ("rcpt 550 5.1.1 No such user: LDAP server not reachable", Kind.SYSTEM_TEMPORARY),
        ("rcpt 550 5.1.2 Host unknown: SERVFAIL", Kind.SYSTEM_TEMPORARY),
        ("rcpt - failed, 5.1.2, host unknown: SERVFAIL", Kind.SYSTEM_TEMPORARY),
        ("rcpt 550 5.1.1 Sender verify failed: user unknown", Kind.POLICY_CONTENT),
        ("rcpt 550 The user has blocked your address", Kind.POLICY_CONTENT),
        ("rcpt 550 Account has sent too many messages: blocked", Kind.RATE_LIMITED),
    ],
)
def test_v02_another_reason_beside_a_mailbox_condemns_nobody(line: str, kind: Kind) -> None:
    meaning = meaning_of_example(line)
    assert meaning.kind is kind
    assert meaning.mailbox == "unknown"
    assert not meaning.suppress


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("rcpt 550 5.4.1 <a@example.org>: Recipient address rejected: Access denied", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 5.7.1 User unknown: access denied", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 Invalid recipient (directory harvest attack prevention)", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 User unknown. Repeated attempts will be treated as harvest attempts", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 5.1.1 No such user in the directory; delivery failed", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 User not found in the database", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 5.1.1 LDAP lookup: user does not exist", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 Mailbox not found or inactive", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 Recipient verification failed: user unknown", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 Endereço inválido: rejeitado", Kind.MAILBOX_UNKNOWN),
        ("rcpt 550 User account blocked", Kind.MAILBOX_DISABLED),
        ("rcpt 550 5.7.1 Recipient address rejected: account is suspended", Kind.MAILBOX_DISABLED),
        ("rcpt 550 5.1.2 Host unknown (name server: host not found)", Kind.DOMAIN_UNKNOWN),
    ],
)
def test_a_mailbox_that_is_missing_is_missing_whatever_stands_beside_it(line: str, kind: Kind) -> None:
    meaning = meaning_of_example(line)
    assert meaning.kind is kind
    assert meaning.suppress


@pytest.mark.parametrize(
    "line",
    [
        "rcpt 550 5.1.1 User unknown; help: https://www.blocklist.example/spamhaus?ip=192.0.2.1",
        "rcpt 550 5.1.1 <spam-blacklist@example.org>: user unknown",
        "rcpt 550 5.1.1 <greylisted.virus@example.org>... No such user",
    ],
)
def test_links_and_addresses_are_not_what_the_host_says(line: str) -> None:
    assert classify(*parse_example(line)).kind is Kind.MAILBOX_UNKNOWN


@pytest.mark.parametrize(
    ("line", "bounce"),
    [
        ("rcpt 550 5.1.1 User unknown", "hard"),
        ("rcpt 552 5.2.2 Mailbox full", "hard"),
        ("rcpt 552 5.2.2 Mailbox is temporarily full", "soft"),
        ("rcpt 554 5.7.1 Your IP 192.0.2.1 is blocked", "hard"),
        ("rcpt 554 Später erneut versuchen", "soft"),
        ("rcpt 450 4.1.1 User unknown", "soft"),
        ("rcpt 550 Please check the address and try again", "hard"),
    ],
)
def test_a_5yz_is_hard_unless_its_text_says_that_it_will_pass(line: str, bounce: str) -> None:
    assert classify(*parse_example(line)).bounce == bounce


def test_delivery_ends_at_a_5yz_whatever_its_text_says() -> None:
    assert not classify(*parse_example("rcpt 552 5.2.2 Mailbox is temporarily full, try again later")).retry


@given(
    st.text(max_size=300), st.one_of(st.none(), st.builds(EnhancedStatus, st.integers(2, 5), st.just(1), st.just(1)))
)
def test_a_text_without_a_code_is_read_by_its_words_and_never_raises(text: str, status: EnhancedStatus | None) -> None:
    meaning = classify_text(Phase.RCPT, text, status)
    assert meaning.kind in Kind
    assert not (meaning.suppress and meaning.bounce != "hard")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("User unknown", Kind.MAILBOX_UNKNOWN),
        ("The mailbox is full", Kind.MAILBOX_FULL),
        ("Host or domain name not found", Kind.DOMAIN_UNKNOWN),
        ("Connection timed out", Kind.SYSTEM_TEMPORARY),
        ("Zork", Kind.UNCLEAR),
    ],
)
def test_words_without_a_code(text: str, kind: Kind) -> None:
    assert classify_text(Phase.RCPT, text).kind is kind
