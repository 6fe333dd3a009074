"""`lbd log-level`: let a running lbd log more or less."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lbd.cli.admin_client import admin_options, ask_or_exit, client_of

LEVELS = ("debug", "info", "warning", "error")
PATH = "/api/log-level"


@click.command(
    "log-level", short_help="Set the level of lbd's own log.", epilog="Example: lbd log-level debug"
)
@click.argument("level", type=click.Choice(LEVELS), required=False)
@admin_options
def log_level(level: str | None, path: Path | None, address: str | None, as_json: bool) -> None:
    """Set the level of lbd's own log until it is restarted; without LEVEL, show it."""
    client = client_of(path, address)
    if level is None:
        answer = ask_or_exit(lambda: client.get(PATH, "level"))
    else:
        answer = ask_or_exit(lambda: client.put(PATH, {"level": level}, "level"))
    click.echo(json.dumps(answer) if as_json else answer["level"])
