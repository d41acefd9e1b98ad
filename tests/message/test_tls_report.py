"""Reports say what was counted in the form of RFC 8460, and those of others are read (T-03)."""

from __future__ import annotations

import base64
import email
import email.policy
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.tls_report import (
    MAX_READ_OCTETS,
    AppliedPolicy,
    Failure,
    PolicyKind,
    ReportHead,
    TlsReportInvalid,
    TlsSession,
    build,
    mail,
    packed,
    read,
    report_addresses,
)

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "tlsrpt"
HEAD = ReportHead(
    organization="Example",
    contact="postmaster@mail.example.org",
    submitter="mail.example.org",
    report_id="20000.abc@mail.example.org",
    domain="example.net",
    start=20_000 * 86_400,
    end=20_001 * 86_400 - 1,
)
STS = AppliedPolicy(PolicyKind.STS, "example.net", ("version: STSv1", "mode: enforce"), ("mx.example.net",))


def session(result: str = "", policy: AppliedPolicy | None = STS, reason: str = "") -> TlsSession:
    return TlsSession(
        domain="example.net",
        policy=policy,
        host="mx.example.net",
        address="192.0.2.1",
        source_address="",
        result=result,
        reason=reason,
    )


def test_t03_sessions_are_told_by_policy_with_each_kind_of_failure() -> None:
    report = build(
        HEAD,
        [
            (session(), 90),
            (session("certificate-expired", reason="certificate has expired"), 7),
            (session("starttls-not-supported"), 3),
            (session(policy=None), 5),
        ],
    )
    sts, none = report["policies"]
    assert sts["policy"] == {
        "policy-type": "sts",
        "policy-domain": "example.net",
        "policy-string": ["version: STSv1", "mode: enforce"],
        "mx-host": ["mx.example.net"],
    }
    assert sts["summary"] == {"total-successful-session-count": 90, "total-failure-session-count": 10}
    assert sts["failure-details"][0] == {
        "result-type": "certificate-expired",
        "receiving-mx-hostname": "mx.example.net",
        "receiving-ip": "192.0.2.1",
        "failed-session-count": 7,
        "failure-reason-code": "certificate has expired",
    }
    assert none == {
        "policy": {"policy-type": "no-policy-found", "policy-domain": "example.net"},
        "summary": {"total-successful-session-count": 5, "total-failure-session-count": 0},
    }
    assert report["date-range"] == {
        "start-datetime": "2024-10-04T00:00:00Z",
        "end-datetime": "2024-10-04T23:59:59Z",
    }
    assert report["report-id"] == HEAD.report_id


def test_t03_the_mail_carries_json_in_gzip_and_asks_to_come_whatever_the_policies_say() -> None:
    content = packed(build(HEAD, [(session(), 1)]))
    body = mail(
        HEAD, content, sender="postmaster@mail.example.org", recipient="tls@example.net", boundary="=_b", now=1.8e9
    )
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert max(map(len, body.split(b"\r\n"))) <= 78
    parsed = email.message_from_bytes(body, policy=email.policy.SMTP)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed["Content-Type"].params["report-type"] == "tlsrpt"
    assert parsed["TLS-Report-Domain"] == "example.net"
    assert parsed["TLS-Report-Submitter"] == "mail.example.org"
    assert parsed["TLS-Required"] == "No"
    assert parsed["Subject"].split() == (
        ["Report", "Domain:", "example.net", "Submitter:", "mail.example.org", "Report-ID:", f"<{HEAD.report_id}>"]
    )
    text, file = parsed.iter_parts()
    assert "example.net" in text.get_content()
    assert file.get_content_type() == "application/tlsrpt+gzip"
    assert file.get_filename() == "mail.example.org!example.net!1728000000!1728086399.json.gz"
    assert json.loads(gzip.decompress(file.get_content()))["organization-name"] == "Example"


def test_t03_what_we_write_we_read() -> None:
    report = read(packed(build(HEAD, [(session(), 2), (session("validation-failure", reason="x"), 1)])))
    assert (report.organization, report.report_id) == ("Example", HEAD.report_id)
    (policy,) = report.policies
    assert (policy.kind, policy.domain, policy.succeeded, policy.failed) == ("sts", "example.net", 2, 1)
    assert policy.failures == (Failure("validation-failure", "mx.example.net", 1, "x"),)


@pytest.mark.parametrize(
    ("texts", "addresses"),
    [
        ([b"v=TLSRPTv1; rua=mailto:tls@example.net"], ("mailto:tls@example.net",)),
        (
            [b"v=spf1", b"v=TLSRPTv1;rua=mailto:a@example.net, https://example.net/in;"],
            ("mailto:a@example.net", "https://example.net/in"),
        ),
        ([b"v=TLSRPTv1; ext=1; rua=http://example.net/,ftp:x,mailto:a@example.net"], ("mailto:a@example.net",)),
        ([b"v=TLSRPTv1; rua=mailto:a@x.test", b"v=TLSRPTv1; rua=mailto:b@x.test"], ()),
        ([b"v=TLSRPTv2; rua=mailto:a@x.test"], ()),
        ([b"v=TLSRPTv1;"], ()),
        ([b"v=TLSRPTv1; rua=mailto:\xff@x.test"], ()),
        ([], ()),
    ],
)
def test_t03_a_domain_says_where_reports_go(texts: list[bytes], addresses: tuple[str, ...]) -> None:
    assert report_addresses(texts) == addresses


def test_t03_so_many_addresses_are_heeded() -> None:
    many = b",".join(b"mailto:a%d@example.net" % number for number in range(50))
    assert len(report_addresses([b"v=TLSRPTv1; rua=" + many])) == 5


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "no list of policies"),
        (b'{"policies": 1}', "no list of policies"),
        (b"[" * 100_000, "not JSON"),
        (b"\x1f\x8b\x08 broken", "damaged"),
        (gzip.compress(b" " * (MAX_READ_OCTETS + 10)), "more than"),
    ],
)
def test_h02_what_is_no_report_is_refused_in_a_sentence(content: bytes, why: str) -> None:
    with pytest.raises(TlsReportInvalid, match=why):
        read(content)


KEYS = ["policies", "policy", "summary", "failure-details", "result-type"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
)


@given(st.dictionaries(st.just("policies"), st.lists(JSON, max_size=3), min_size=1) | JSON)
def test_whatever_json_somebody_sends_is_a_report_or_refused(told: object) -> None:
    try:
        report = read(json.dumps(told).encode())
    except TlsReportInvalid:
        return
    assert all(policy.succeeded >= 0 and policy.failed >= 0 for policy in report.policies)


OTHERS = ["rfc8460.json", "mail.ru.json", "smtp_tls.json", *(f"mail-auth/rpt0{number}.json" for number in (1, 2, 3))]


@pytest.mark.parametrize("name", OTHERS)
def test_t03_reports_of_others_are_read(name: str) -> None:
    file = CORPUS / name
    if not file.exists():
        pytest.skip(f"{file} is not here")
    content = file.read_bytes()
    report = read(content)
    told = json.loads(content)
    assert len(report.policies) == len(told["policies"])
    assert report.organization == told["organization-name"]
    assert read(gzip.compress(content)) == report


def test_t03_a_report_in_a_mail_of_another_maker_is_read() -> None:
    file = CORPUS / "mail-auth" / "rpt01.eml"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    encoded = file.read_bytes().replace(b"\r\n", b"\n").split(b'json.gz"\n\n')[1].split(b"\n\n")[0]
    assert read(base64.b64decode(encoded)).policies
