"""Settings that contradict each other, names and addresses that cannot be: one sentence each, at the right line."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import Config, load
from postroad.config.judge import split_host_port


def said(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "postroad.toml"
    file.write_text(text)
    loaded = load(file, {})
    return [] if isinstance(loaded, Config) else [str(mistake).removeprefix(f"{tmp_path}/") for mistake in loaded]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[server]\nhostname = 'mx 1.test'", '2: [server] hostname: "mx 1.test" is no host name'),
        ("[domains]\nlocal = ['a.test', 'b..test']", '2: [domains] local: "b..test" is no domain name'),
        ("[domains]\nseparator = '+-'", "2: [domains] separator: write one character, or none"),
        (
            "[domains]\npostmaster = 'me@a.test'",
            "2: [domains] postmaster: write the local user's name, without @ and domain",
        ),
        ("[tls]\ncertificate = 'a.pem'", "2: [tls] certificate and key go together: give both, or neither"),
        ("[tls]\n\nkey = 'a.key'", "3: [tls] certificate and key go together: give both, or neither"),
        (
            "[auth]\nmechanisms = ['PLAIN', 'CRAM-MD5']",
            '2: [auth] mechanisms: "CRAM-MD5" is not one of LOGIN, PLAIN, SCRAM-SHA-256',
        ),
        ("[auth]\nmechanisms = []", "2: [auth] mechanisms: name at least one, or no user could send mail"),
        (
            "[limits]\nmessage_octets = 2000000\nbody_memory_octets = 1500000",
            "3: [limits] body_memory_octets is less than message_octets: a message of that size could never be taken",
        ),
        (
            "[dns]\nnameserver = 'ns.test:53'",
            '2: [dns] nameserver: write ADDRESS:PORT, such as "127.0.0.1:53" or "[::1]:53"',
        ),
        ("[delivery]\nsource_address = 'me.test'", "2: [delivery] source_address: write an IP address of this machine"),
        (
            "[delivery]\nfirst_retry_s = 20000",
            "2: [delivery] first_retry_s is more than retry_ceiling_s, the longest interval",
        ),
        ("[[listener]]\naddress = 'localhost'", '2: [[listener]] address: "localhost" is no IP address'),
        ("[[listener]]\nport=25\n[[listener]]\nport=25", "4: [[listener]] 127.0.0.1 port 25 is listed twice"),
        ("listener = []", "1: there is no [[listener]]: nothing could reach this server"),
        ("[[route]]\nhost = 'h.test'", '1: [[route]] needs a domain; "*" is every domain that is not local'),
        ("[[route]]\nhost = 'h.test'\ndomain = 'a b'", '3: [[route]] domain: "a b" is no domain name'),
        ("[[route]]\ndomain = '*'", "1: [[route]] needs a host, or else discard = true"),
        (
            "[[route]]\ndomain = '*'\nhost = 'h.test'\ndiscard = true",
            "1: [[route]] needs a host, or else discard = true",
        ),
        (
            "[[route]]\ndomain = '*'\nhost = 'h 1.test'",
            '3: [[route]] host: "h 1.test" is neither a host name nor an IP address',
        ),
        (
            "[[route]]\ndomain = '*'\nhost = 'h.test'\nusername = 'me'",
            "4: [[route]] username and password_file go together: give both, or neither",
        ),
        (
            "[[route]]\ndomain='*'\nhost='h.test'\nusername='me'\npassword_file='p'\ntls='opportunistic'",
            '6: [[route]] tls: a password needs "verified" or "implicit" (or "required", which trusts any certificate)',
        ),
        (
            "[[route]]\ndomain='bücher.test'\nhost='h.test'\n[[route]]\nhost='h.test'\ndomain='xn--bcher-kva.test'",
            '6: [[route]] domain: "xn--bcher-kva.test" has a route already',
        ),
    ],
)
def test_a_contradiction_is_told_at_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    assert said(tmp_path, text) == [f"postroad.toml:{sentence}"]


@pytest.mark.parametrize(
    "text",
    [
        "[server]\nhostname = 'mail.bücher.test.'",
        "[domains]\nlocal = ['xn--bcher-kva.test']\nseparator = ''",
        "[[listener]]\naddress = '::'\nport = 25\n[[listener]]\naddress = '0.0.0.0'\nport = 25",
        "[[listener]]\nport = 0\n[[listener]]\nport = 0",
        "[dns]\nnameserver = '[::1]:5300'",
        "[[route]]\ndomain='*'\nhost='192.0.2.1'\ntls='implicit'\nport=465\nusername='me'\npassword_file='p'",
        "[[route]]\ndomain = 'a.test'\ndiscard = true",
    ],
)
def test_what_fits_together_is_taken(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text) == []


def test_a_contradiction_that_rests_on_another_mistake_is_not_told_beside_it(tmp_path: Path) -> None:
    assert said(tmp_path, "[tls]\ncertificate = 'a.pem'\nkey = 3") == [
        "postroad.toml:3: [tls] key: write a string in quotes, not 3"
    ]
    assert len(said(tmp_path, "[[listener]]\nport = 70000\n[[listener]]\nport = 70000")) == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:53", ("127.0.0.1", 53)),
        ("[::1]:53", ("::1", 53)),
        ("::1:53", None),
        ("127.0.0.1", None),
        ("127.0.0.1:", None),
        ("127.0.0.1:0", None),
        ("127.0.0.1:65536", None),
        ("127.0.0.1:٣", None),
        ("127.0.0.1:+5", None),
        ("ns.test:53", None),
        ("[::1:53", None),
        ("", None),
    ],
)
def test_address_and_port(text: str, found: tuple[str, int] | None) -> None:
    assert split_host_port(text) == found


def test_a_port_of_nought_where_it_may_be() -> None:
    assert split_host_port("127.0.0.1:0", lowest=0) == ("127.0.0.1", 0)
