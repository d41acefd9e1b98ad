"""`postroad send`: what each option does to the dialogue and the message, and what is refused before anything goes."""

from __future__ import annotations

import base64
import email
import email.policy
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from cli.calls import Done, call, playing, serving
from net.scripted import plays
from peers.processes import free_ports
from postroad.cli.letter import Letter, LetterError, build
from postroad.library.client import to_bytes
from postroad.message.envelope import Envelope, Notify
from postroad.receive.caller import Caller
from postroad.smtp.address import NULL, Address
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import ServerSettings

USER, PASSWORD = "me@here.test", "correct horse"


@dataclass
class Post:
    """Takes all but what is for `nobody`, and remembers it."""

    taken: list[tuple[Caller, Envelope, bytes]] = field(default_factory=list)

    def rcpt(self, caller: Caller, address: Address) -> Reply | None:
        return reply(550, "No such user", "5.1.1") if address.local == "nobody" else None

    def message(self, caller: Caller, envelope: Envelope, body: bytes) -> None:
        self.taken.append((caller, envelope, body))

    @property
    def envelope(self) -> Envelope:
        return self.taken[-1][1]

    @property
    def message_text(self) -> EmailMessage:
        return email.message_from_bytes(self.taken[-1][2], _class=EmailMessage, policy=email.policy.default)


@dataclass
class GuardedPost(Post):
    """The same for those who know the password."""

    def auth(self, peer: str, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


@dataclass(frozen=True)
class Place:
    """A server that stands for a module's tests."""

    port: int
    post: Post

    def send(self, *arguments: object, stdin: str | bytes = "") -> Done:
        return call("send", "--server", f"localhost:{self.port}", *arguments, stdin=stdin)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def open_place() -> Iterator[Place]:
    post = Post()
    with serving(post) as port:
        yield Place(port, post)


@pytest.fixture(scope="module")
def starttls_place(server_tls: ssl.SSLContext) -> Iterator[Place]:
    post = GuardedPost()
    with serving(post, tls=server_tls) as port:
        yield Place(port, post)


@pytest.fixture(scope="module")
def implicit_place(server_tls: ssl.SSLContext) -> Iterator[Place]:
    post = GuardedPost()
    with serving(post, tls=server_tls, implicit_tls=True) as port:
        yield Place(port, post)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\nnot this line\n")
    return path


# The message ---------------------------------------------------------------------------------------------------


def test_a_message_made_from_options_has_what_they_say(open_place: Place, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG not really")
    done = open_place.send(
        *("--from", "ann@here.test", "--to", "bob@there.test", "--to", "bea@there.test", "--cc", "cc@there.test"),
        *("--bcc", "secret@there.test", "--subject", "Grüße", "--header", "X-Mood: fine", "--body", "first\nsecond\n"),
        *("--attach", picture),
    )
    assert done.status == 0
    assert [line.split()[:2] for line in done.out.splitlines()] == [
        ["accepted", f"{name}@there.test"] for name in ("bob", "bea", "cc", "secret")
    ]
    envelope, message = open_place.post.envelope, open_place.post.message_text
    assert str(envelope.reverse_path) == "ann@here.test"
    assert [one.address.local for one in envelope.recipients] == ["bob", "bea", "cc", "secret"]
    assert (message["From"], message["To"], message["Cc"], message["Subject"], message["X-Mood"]) == (
        "ann@here.test",
        "bob@there.test, bea@there.test",
        "cc@there.test",
        "Grüße",
        "fine",
    )
    assert message["Date"] and message["Message-ID"].endswith("@here.test>")
    assert "secret" not in open_place.post.taken[-1][2].decode()
    text, attached = message.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == "first\nsecond\n"
    assert (attached.get_content_type(), attached.get_filename(), attached.get_content()) == (
        "image/png",
        "picture.png",
        b"\x89PNG not really",
    )


def test_a_header_given_replaces_the_one_that_would_be_made(open_place: Place) -> None:
    assert not open_place.send("--from", "a@here.test", "--to", "b@there.test", "--header", "To: all of you:;").status
    assert open_place.post.message_text.get_all("To") == ["all of you:;"]


def test_the_text_comes_from_a_file_or_from_standard_input(open_place: Place, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("from a file\n")
    for source, stdin in ((tmp_path / "text", ""), ("-", "from a file\n")):
        done = open_place.send("--from", "a@here.test", "--to", "b@there.test", "--body-file", source, stdin=stdin)
        assert done.status == 0
        assert open_place.post.message_text.get_content().strip() == "from a file"


RAW = b"From: Ann <ann@here.test>\nTo: Bob <bob@there.test>\nBcc: secret@there.test,\n eve@there.test\n\n.dotted\nend"


def test_a_whole_message_goes_as_it_is_to_those_its_header_names_but_for_bcc(open_place: Place, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(RAW)
    for source, stdin in ((tmp_path / "raw", b""), ("-", RAW)):
        assert open_place.send("--file", source, stdin=stdin).status == 0
        _, envelope, body = open_place.post.taken[-1]
        assert str(envelope.reverse_path) == "ann@here.test"
        assert [one.address.local for one in envelope.recipients] == ["bob", "secret", "eve"]
        assert body.endswith(b"From: Ann <ann@here.test>\r\nTo: Bob <bob@there.test>\r\n\r\n.dotted\r\nend\r\n")


def test_named_recipients_stand_before_those_of_the_header(open_place: Place) -> None:
    assert open_place.send("--file", "-", "--to", "other@there.test", "--from", "<>", stdin=RAW).status == 0
    assert [str(one.address) for one in open_place.post.envelope.recipients] == ["other@there.test"]
    assert open_place.post.envelope.reverse_path is NULL


def test_dsn_options_go_to_the_server(open_place: Place) -> None:
    done = open_place.send(
        *("--from", "a@here.test", "--to", "b@there.test", "--dsn-notify", "success", "--dsn-notify", "delay"),
        *("--dsn-return", "hdrs", "--dsn-id", "order 7+1"),
    )
    assert done.status == 0
    envelope = open_place.post.envelope
    assert envelope.recipients[0].notify == frozenset({Notify.SUCCESS, Notify.DELAY})
    assert (envelope.ret, envelope.envid) == ("HDRS", "order 7+1")


def test_an_address_in_another_script_goes_by_smtputf8(open_place: Place) -> None:
    assert open_place.send("--from", "ä@here.test", "--to", "ö@bücher.test").status == 0
    envelope = open_place.post.envelope
    assert (envelope.smtputf8, envelope.recipients[0].address.local) == (True, "ö")


def test_hello_says_the_name_given(open_place: Place) -> None:
    assert open_place.send("--from", "a@here.test", "--to", "b@there.test", "--hello", "my.name.test").status == 0
    assert open_place.post.taken[-1][0].hello == "my.name.test"


# Fates ---------------------------------------------------------------------------------------------------------


def test_status_is_1_when_one_recipient_of_several_is_refused_and_the_others_get_it(open_place: Place) -> None:
    done = open_place.send("--from", "a@here.test", "--to", "bob@there.test", "--to", "nobody@there.test")
    assert done.status == 1
    assert done.out.splitlines() == [
        f"accepted  bob@there.test     {done.out.splitlines()[0].split(maxsplit=2)[2]}",
        "refused   nobody@there.test  rcpt: 550 5.1.1 No such user",
    ]
    assert [one.address.local for one in open_place.post.envelope.recipients] == ["bob"]


def test_h11_what_a_server_says_cannot_steer_the_terminal() -> None:
    hostile = b"550 5.1.1 \x1b[31mred\x07 \xc2\x9b2J =cmd|' /C calc'!A0\r\n"
    with playing(plays(b"250 ok\r\n", hostile, b"250 ok\r\n", ehlo=b"250 mx.test\r\n")) as port:
        done = call(
            *("send", "--server", f"127.0.0.1:{port}", "--from", "a@here.test", "--to", "b@there.test"),
            "--show-dialogue",
        )
    assert done.status == 1
    assert "refused" in done.out
    assert "\\x1b[31mred\\x07" in done.out
    assert all(line.isprintable() for line in done.out.splitlines())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (plays(None), "mail: the server closed the connection"),
        (plays(b"550 never\r\n", ehlo=b"550 go away\r\n"), "ehlo: 550 never"),
        (plays(b"250 ok\r\n", ehlo=b"no reply at all\r\n"), "ehlo: "),
    ],
)
def test_a_server_that_fails_ends_the_command_in_one_sentence(script: object, said: str) -> None:
    with playing(script) as port:  # type: ignore[arg-type]
        done = call("send", "--server", f"127.0.0.1:{port}", "--from", "a@here.test", "--to", "b@there.test")
    assert done.status == 1
    assert said in done.out + done.err
    assert len((done.out + done.err).splitlines()) == 1


def test_a_server_that_is_not_there_or_too_slow_is_named_with_the_step(authority: trustme.CA) -> None:
    (closed,) = free_ports(1)
    done = call("send", "--server", f"127.0.0.1:{closed}", "--from", "a@here.test", "--to", "b@there.test")
    assert (done.status, done.sentence) == (1, f"postroad: 127.0.0.1:{closed}: connect: connection refused")
    with playing(plays(b"", ehlo=b"")) as port:
        done = call(
            *("send", "--server", "127.0.0.1", "--port", port, "--from", "a@here.test", "--to", "b@there.test"),
            *("--timeout", "0.2"),
        )
    assert (done.status, done.sentence) == (1, f"postroad: 127.0.0.1:{port}: ehlo: timed out")


# Transport and authentication -----------------------------------------------------------------------------------

TO = ("--from", USER, "--to", "b@there.test")


def test_starttls_is_verified_and_the_password_comes_from_a_file(
    starttls_place: Place, ca_file: Path, password_file: Path
) -> None:
    done = starttls_place.send(*TO, "--user", USER, "--password-file", password_file, "--ca-file", ca_file)
    assert (done.status, done.err) == (0, "")
    assert starttls_place.post.taken[-1][0].is_tls


def test_the_user_is_the_sender_where_nobody_else_is_named(starttls_place: Place, ca_file: Path) -> None:
    done = starttls_place.send(
        *("--to", "b@there.test", "--user", USER, "--password-stdin", "--ca-file", ca_file), stdin=f"{PASSWORD}\n"
    )
    assert done.status == 0
    assert str(starttls_place.post.envelope.reverse_path) == USER


@pytest.mark.parametrize("check", ["--insecure", "--ca-file"])
def test_implicit_tls(implicit_place: Place, ca_file: Path, password_file: Path, check: str) -> None:
    trust = [check] if check == "--insecure" else [check, ca_file]
    done = implicit_place.send(*TO, "--tls", "implicit", "--user", USER, "--password-file", password_file, *trust)
    assert done.status == 0


def test_a_certificate_nobody_vouches_for_is_refused_and_the_sentence_says_how_to_go_on(
    starttls_place: Place, implicit_place: Place, password_file: Path
) -> None:
    for place, mode in ((starttls_place, "verified"), (starttls_place, "starttls"), (implicit_place, "implicit")):
        before = len(place.post.taken)
        done = place.send(*TO, "--tls", mode, "--user", USER, "--password-file", password_file)
        assert done.status == 1
        assert "certificate not trusted" in done.sentence
        assert done.sentence.endswith("trust it with --ca-file FILE, or take any with --insecure")
        assert len(place.post.taken) == before


def test_a_ca_file_alone_has_the_certificate_checked(starttls_place: Place, ca_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    assert "certificate not trusted" in starttls_place.send(*TO, "--ca-file", other).sentence
    assert starttls_place.send(*TO, "--ca-file", ca_file).status == 0


@pytest.mark.parametrize("mode", ["opportunistic", "required"])
def test_tls_without_a_check_takes_any_certificate(starttls_place: Place, mode: str) -> None:
    assert starttls_place.send(*TO, "--tls", mode).status == 0
    assert starttls_place.post.taken[-1][0].is_tls


def test_tls_none_stays_in_the_clear_and_required_insists(starttls_place: Place, open_place: Place) -> None:
    assert starttls_place.send(*TO, "--tls", "none").status == 0
    assert not starttls_place.post.taken[-1][0].is_tls
    done = open_place.send(*TO, "--tls", "required")
    assert "TLS is required, and the server does not offer STARTTLS" in done.sentence


def test_c12_a_password_never_travels_in_the_clear(starttls_place: Place, password_file: Path) -> None:
    done = starttls_place.send(
        *TO, "--tls", "none", "--user", USER, "--password-file", password_file, "--show-dialogue"
    )
    assert done.status == 1
    assert "without TLS" in done.err
    assert "AUTH" not in "".join(line for line in done.out.splitlines() if line.startswith("C: "))


def test_a_wrong_password_is_told_in_the_servers_words(starttls_place: Place, ca_file: Path) -> None:
    done = starttls_place.send(*TO, "--user", USER, "--password-stdin", "--ca-file", ca_file, stdin="wrong\n")
    assert done.status == 1
    assert f"localhost:{starttls_place.port}: auth: 535 5.7.8" in done.sentence


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_the_dialogue_shows_every_line_and_no_secret(server_tls: ssl.SSLContext, ca_file: Path, mechanism: str) -> None:
    settings = ServerSettings(hostname="mx.test", has_starttls=True, auth_mechanisms=(mechanism,))
    post = GuardedPost()
    with serving(post, tls=server_tls, settings=settings) as port:
        done = Place(port, post).send(
            *(*TO, "--user", USER, "--password-stdin", "--ca-file", ca_file, "--show-dialogue", "--body", "hello"),
            stdin=f"{PASSWORD}\n",
        )
    assert done.status == 0
    lines = done.out.splitlines()
    for line in ("S: 220 mx.test ESMTP Postroad", "C: STARTTLS", "C: DATA", "C: hello", "C: .", "C: QUIT"):
        assert line in lines
    asked = lines.index("C: AUTH PLAIN ***" if mechanism == "PLAIN" else "C: AUTH LOGIN")
    assert lines[asked + 1].startswith("S: 235" if mechanism == "PLAIN" else "S: 334 ***")
    secrets = (
        PASSWORD,
        base64.b64encode(PASSWORD.encode()).decode(),
        base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(),
    )
    assert not any(secret in done.out for secret in secrets)


# Refused before anything goes ------------------------------------------------------------------------------------

NEWLINES = ["\r\n", "\n", "\r", "\0", "\x85", "\u2028"]


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize(
    "option", ["--from", "--to", "--cc", "--bcc", "--subject", "--header", "--hello", "--dsn-id", "--user", "--server"]
)
def test_h06_a_line_break_in_an_option_is_refused_in_one_sentence(
    open_place: Place, password_file: Path, option: str, newline: str
) -> None:
    value = {"--header": f"X-Some: a{newline}X-Injected: b", "--server": f"localhost{newline}:25"}.get(
        option, f"a{newline}RCPT@there.test"
    )
    plain = {"--from": "a@here.test", "--to": "b@there.test", "--password-file": password_file}
    arguments = {**plain, option: value}
    if option != "--user":
        del arguments["--password-file"]
    before = len(open_place.post.taken)
    done = open_place.send(*(word for pair in arguments.items() for word in pair))
    assert done.status == 1
    assert done.sentence.startswith("postroad: ")
    assert len(open_place.post.taken) == before


def test_h06_a_line_break_in_a_file_name_or_in_a_messages_own_addresses(open_place: Place, tmp_path: Path) -> None:
    attachment = tmp_path / "a\r\nX-Injected: b"
    attachment.write_text("x")
    assert open_place.send("--from", "a@here.test", "--to", "b@there.test", "--attach", attachment).status == 1
    done = open_place.send("--file", "-", stdin=b"From: a@here.test\nTo: <b@there.test\x00>\n\nx")
    assert done.status == 1
    assert len(done.err.splitlines()) == 1


@given(st.dictionaries(st.sampled_from(["Subject", "X-Any", "From", "Reply-To", "Sender"]), st.text(max_size=200)))
def test_h06_no_text_in_a_header_makes_another_header(headers: dict[str, str]) -> None:
    letter = Letter(
        sender="a@here.test", to=["b@there.test"], headers=list(headers.items()), text="x", date="d", message_id="<m@x>"
    )
    try:
        body = to_bytes(build(letter))
    except LetterError:
        return
    header = body.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0].lower() for line in header.split(b"\r\n") if line[:1] not in (b" ", b"\t")]
    allowed = {b"from", b"to", b"subject", b"date", b"message-id", b"x-any", b"reply-to", b"sender", b"mime-version"}
    assert set(names) <= allowed | {b"content-type", b"content-transfer-encoding"}
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "a@here.test"], "there is nobody to send to: give --to ADDRESS"),
        (["--to", "Bob <b@there.test>"], "write it as ann@example.org"),
        (["--to", "b"], "--to 'b': "),
        (["--cc", "b"], "--cc 'b': "),
        (["--to", "b@there.test", "--from", "a"], "--from 'a': "),
        (["--to", "b@there.test", "--header", "no colon"], "write a header as 'Name: value'"),
        (["--to", "b@there.test", "--header", "Bad Name: x"], "write a header as 'Name: value'"),
        (["--to", "b@there.test", "--hello", "two words"], "--hello 'two words': write one word"),
        (["--to", "b@there.test", "--hello", ""], "--hello '': write one word"),
        (["--to", "b@there.test", "--dsn-id", "é"], "--dsn-id: write 1 to 100 ASCII characters"),
        (["--to", "b@there.test", "--dsn-id", "+" * 34], "--dsn-id: write 1 to 100 ASCII characters"),
        (["--to", "b@there.test", "--dsn-notify", "never", "--dsn-notify", "delay"], "never goes with no other"),
        (["--to", "b@there.test", "--body", "x", "--body-file", "-"], "give --body or --body-file, not both"),
        (["--to", "b@there.test", "--body", "", "--file", "-"], "--file is a whole message"),
        (["--to", "b@there.test", "--body-file", "-", "--attach", "-"], "standard input can be one thing only"),
        (["--to", "b@there.test", "--user", "u", "--password-stdin", "--file", "-"], "standard input can be one thing"),
        (["--to", "b@there.test", "--password-stdin"], "a password needs a --user"),
        (["--to", "b@there.test", "--user", "u", "--password-stdin"], "standard input holds no password"),
        (["--to", "b@there.test", "--server", "host:port"], "--server: write HOST or HOST:PORT"),
        (["--to", "b@there.test", "--server", f"{'h' * 64}.test"], "no host can have that name"),
        (["--to", "b@there.test", "--server", "[::1"], "postroad: "),
    ],
)
def test_a_wrong_use_says_in_one_sentence_what_to_do(arguments: list[str], said: str) -> None:
    done = call("send", *arguments)
    assert done.status == 1
    assert said in done.sentence


def test_contradictions_about_certificates_and_passwords(ca_file: Path, password_file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for arguments, said in (
        (["--ca-file", ca_file, "--insecure"], "--ca-file needs certificates to be checked"),
        (["--ca-file", ca_file, "--tls", "opportunistic"], "--ca-file needs certificates to be checked"),
        (["--ca-file", password_file], f"{password_file}: there are no certificates in it"),
        (["--user", "u", "--password-file", empty], f"{empty}: its first line should be the password, but is empty"),
        (["--user", "u", "--password-file", password_file, "--password-stdin"], "not both"),
    ):
        assert said in call("send", "--to", "b@there.test", *arguments).sentence


@pytest.mark.parametrize(
    "arguments", [["--port", "0"], ["--tls", "maybe"], ["--file", "no-such-file"], ["--timeout", "0"], ["--nonsense"]]
)
def test_an_option_that_cannot_be_shows_the_way_to_help(arguments: list[str]) -> None:
    done = call("send", *arguments)
    assert done.status == 2
    assert "postroad send --help" in done.err
