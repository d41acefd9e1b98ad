"""What `from postroad import …` gives, in whatever order a program imports."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "imports",
    [
        "from postroad import verify",
        "from postroad import verify; verify; from postroad import verify",
        "from postroad.verify.verdict import Verdict; from postroad import verify",
        "import postroad.verify; from postroad import verify",
        "from postroad import *",
    ],
)
def test_verify_is_the_function_also_after_its_room_was_imported(imports: str) -> None:
    code = f"{imports}\nimport inspect\nassert inspect.iscoroutinefunction(verify), verify"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


def test_every_name_promised_is_there_and_no_other() -> None:
    import postroad

    for name in postroad.__all__:
        assert getattr(postroad, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Serverr'"):
        getattr(postroad, "Serverr")  # noqa: B009 - mypy knows that it is not there


def test_the_package_alone_loads_nothing_heavy() -> None:
    code = (
        "import sys, postroad; print([name for name in sys.modules if name.startswith('postroad.') or name == 'ssl'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "[]\n"
