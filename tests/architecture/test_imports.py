"""The one-way order of docs/architecture.md, read from the imports: those for types alone count too."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "postroad"

FLOORS = (
    ("smtp",),
    ("message", "meaning"),
    ("net",),
    ("road", "store", "hook"),
    ("receive", "deliver", "verify", "lab"),
    ("api", "metrics"),
    ("library", "compose", "supervisor"),
    ("worker", "web"),
    ("app",),
    ("cli",),
    ("__main__",),
)
"""From the bottom up. A room knows the floors below its own, and nobody on its own floor."""

BESIDE = {
    "clock": {
        "net",
        "road",
        "store",
        "receive",
        "deliver",
        "verify",
        "library",
        "compose",
        "worker",
        "web",
        "app",
        "cli",
    },
    "events": {
        *("net", "road", "store", "hook", "receive", "deliver", "verify"),
        *("library", "compose", "supervisor", "worker", "web", "app", "cli", "config"),
    },
    "config": {"compose", "worker", "web", "app", "cli"},
    "log": {"compose", "cli"},
    "postroad": {"app", "cli"},
}
"""What stands beside the floors, and who may use it. `postroad` is the package itself: its version and public names."""

BELOW_BESIDE: dict[str, set[str]] = {
    "clock": set(),
    "events": {"clock"},
    "config": {"smtp", "events"},
    "log": set(),
    "postroad": {"library", "meaning"},
}
"""What those know themselves."""

SPOOL = {
    "spool",
    "sqlite_spool",
    "memory_spool",
    "spool_due",
    "spool_rows",
    "shards",
    "writer",
    "queue_admin",
    "queue_ids",
}

PURE = (
    "smtp",
    "message",
    "meaning",
    "receive.directory",
    "receive.findings",
    "deliver.schedule",
    "deliver.turns",
    "deliver.settle",
    "road.rate",
    "road.throttle",
    "road.shaping",
    "road.site",
    "road.source",
    "road.warm_up",
    "road.provider",
    "road.dane",
    "road.tls_demand",
    "deliver.tls_wish",
    "lab.truth",
    "lab.zone",
    "lab.wording",
    "lab.personality",
    "lab.delaying",
    "lab.refusing",
    "lab.faulty",
    "lab.conversation",
    "lab.at_data",
    "lab.catalogue",
    "lab.fate",
    "lab.letter",
    "lab.notice",
    "lab.names",
    "lab.world",
    "verify.plan",
    "verify.traits",
    "verify.typo",
    "verify.verdict",
    "verify.judge",
    "verify.again",
    "verify.emailverify",
    "verify.domain_facts",
    "verify.inquiry",
    "verify.welcome",
    "config.judge",
)
SURROUNDINGS = {
    *("asyncio", "socket", "ssl", "select", "selectors", "threading", "multiprocessing", "concurrent", "subprocess"),
    *("time", "random", "secrets", "uuid", "logging", "os", "sqlite3", "aiodns", "uvloop", "signal"),
    *("postroad.events", "postroad.config", "postroad.clock"),
}
"""What a pure room is handed as values, or does without."""
JUDGE_KNOWS = {"postroad.config"}

LONG = {
    "smtp/server.py": "the server's state machine: whatever moves its state stands in one file",
}
"""Modules over 500 lines, each with its reason."""


@dataclass(frozen=True)
class Import:
    """`module` imports `target`, at that line."""

    module: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@cache
def modules() -> dict[str, ast.Module]:
    """Dotted name of each module → its syntax tree."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import of the package, wherever in a module it stands."""
    return tuple(found for name, tree in modules().items() for found in _imports(name, tree))


def _imports(module: str, tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(module, name.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module}:{node.lineno}: imports here are absolute"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield Import(module, inner if inner in modules() else node.module, node.lineno)


def room(module: str) -> str:
    """`smtp` of `postroad.smtp.address`; `postroad` of the package itself."""
    return module.split(".")[1] if "." in module else module


def floor(name: str) -> int:
    return next(index for index, rooms in enumerate(FLOORS) if name in rooms)


def within() -> Iterator[Import]:
    """Imports of one room by another."""
    for found in imports():
        if found.target.split(".")[0] == "postroad" and room(found.module) != room(found.target):
            yield found


def is_allowed(found: Import) -> bool:
    here, there = room(found.module), room(found.target)
    if here in BESIDE:
        return there in BELOW_BESIDE[here]
    if there in BESIDE:
        return here in BESIDE[there]
    return floor(there) < floor(here)


def test_every_room_has_its_place() -> None:
    placed = {name for rooms in FLOORS for name in rooms} | set(BESIDE)
    assert {room(name) for name in modules()} == placed


def test_rooms_know_only_what_is_below_them() -> None:
    assert [str(found) for found in within() if not is_allowed(found)] == []


def test_receive_does_not_know_deliver() -> None:
    known = reachable("postroad.receive")
    assert not {name for name in known if room(name) == "deliver"}


def test_verify_does_not_know_the_spool() -> None:
    spool = {f"postroad.store.{name}" for name in SPOOL}
    assert [str(found) for found in imports() if room(found.module) == "verify" and found.target in spool] == []


def reachable(start: str) -> set[str]:
    """Modules that those of a room lead to, over any number of imports."""
    waiting = [name for name in modules() if name == start or name.startswith(f"{start}.")]
    known: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in known and name in modules():
            known.add(name)
            waiting += [found.target for found in imports() if found.module == name]
    return known


def test_no_module_imports_itself_over_others() -> None:
    graph = {name: {found.target for found in imports() if found.module == name} - {name} for name in modules()}
    graph["postroad"] = set()  # it names its public face for types, and loads it when asked
    tuple(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_take_time_chance_and_the_world_as_arguments(name: str) -> None:
    dotted = f"postroad.{name}"
    own = [found for found in imports() if found.module == dotted or found.module.startswith(f"{dotted}.")]
    assert own or dotted in modules()
    allowed = JUDGE_KNOWS if name == "config.judge" else set()
    touched = [
        str(found)
        for found in own
        if {found.target.split(".")[0], ".".join(found.target.split(".")[:2])} & (SURROUNDINGS - allowed)
    ]
    assert touched == []


def test_only_the_command_line_prints() -> None:
    doors = ("print", "pprint", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write")
    printing = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if room(name) != "cli" and isinstance(node, ast.Call) and ast.unparse(node.func) in doors
    ]
    assert printing == []


def test_only_the_command_line_knows_the_terminal() -> None:
    drawing = [found for found in imports() if found.target.split(".")[0] in ("click", "rich")]
    assert [str(found) for found in drawing if room(found.module) != "cli"] == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    parts = {part for name in modules() for part in name.split(".")}
    assert not parts & {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}


def test_modules_stay_small() -> None:
    sizes = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name for name, lines in sizes.items() if lines > 500} == set(LONG)
