"""`postroad health`: whether the running server is well, by its status, for containers and scripts."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import click

from postroad.cli.settings import configured, fail, settings
from postroad.events import escaped

PATIENCE_S = 8.0
MAX_OCTETS = 100_000


@click.command("health")
@configured
def command(config: Path | None, state: Path | None) -> None:
    """Ask the web listener of the running server: status 0 where all is well, 1 where something is not, and why."""
    http = settings(config, state).http
    if not http.enabled:
        fail("the server has no web listener to ask: set [http] enabled = true")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.address, http.address)  # noqa: S104 - a comparison
    url = f"http://{f'[{host}]' if ':' in host else host}:{http.port}/readyz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PATIENCE_S) as response:
            text, is_well = response.read(MAX_OCTETS), True
    except urllib.error.HTTPError as error:
        text, is_well = error.read(MAX_OCTETS), False
    except (OSError, urllib.error.URLError) as error:
        fail(f"nothing answers at {url}: {getattr(error, 'reason', error)}; is the server running?")
    try:
        checks = json.loads(text).get("checks", {})
    except ValueError:
        fail(f"what answers at {url} is not this server")
    for name, found in checks.items():
        click.echo(escaped(f"{'ok' if found['ok'] else 'fault':<6} {name}: {found['detail']}"))
    if not is_well:
        sys.exit(1)
