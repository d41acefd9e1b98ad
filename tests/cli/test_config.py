"""`postroad config`: each mistake in one sentence with its place, and what is in force as a file that says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.calls import call
from postroad.config import Config, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "postroad.toml"


def test_a_right_file_is_ok(file: Path) -> None:
    file.write_text('[server]\nhostname = "mx.example.org"\n')
    done = call("config", "check", file)
    assert (done.status, done.out, done.err) == (0, f"{file}: ok\n", "")


def test_every_mistake_has_a_sentence_with_file_and_line(file: Path) -> None:
    file.write_text('[server]\nworkers = "two"\n\n[limits]\nrecipents = 5\nerrors = 1\n')
    done = call("config", "check", file)
    assert done.status == 1
    lines = done.out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{file}:2", f"{file}:5", f"{file}:6"]
    assert "did you mean recipients?" in lines[1]


def test_the_environment_is_checked_too(file: Path) -> None:
    file.write_text("")
    done = call("config", "check", "--config", file, environment={"POSTROAD_SERVER__WORKERS": "many"})
    assert done.status == 1 and "POSTROAD_SERVER__WORKERS" in done.out


def test_a_file_that_is_not_there_or_is_no_toml_is_one_sentence(file: Path) -> None:
    done = call("config", "check", file)
    assert done.status == 1 and str(file) in done.out and len(done.out.splitlines()) == 1
    file.write_text("[server\n")
    done = call("config", "check", file)
    assert done.status == 1 and f"{file}:1" in done.out and len(done.out.splitlines()) == 1


def test_what_show_prints_is_the_same_configuration(file: Path) -> None:
    server = '[server]\nhostname = "mx.example.org"\nstate_dir = "/var/x"\n'
    file.write_text(server + '[[route]]\ndomain = "*"\nhost = "smart.example.org"\n')
    shown = call("config", "show", "--config", file)
    assert shown.status == 0
    again = file.with_name("again.toml")
    again.write_text(shown.out)
    first, second = call("config", "show", "--config", again).out, shown.out
    assert first == second
    assert isinstance(load(again, {}), Config)


def test_a_command_that_needs_the_configuration_tells_its_mistakes_and_stops(file: Path) -> None:
    file.write_text("[server]\nworkers = 0\n")
    done = call("queue", "list", "--config", file)
    assert done.status == 1 and done.sentence.startswith(f"{file}:2: ")
