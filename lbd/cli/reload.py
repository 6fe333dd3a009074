"""`lbd reload`: put the changed configuration files in force, and say what that did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lbd.cli.admin_client import admin_options, ask_or_exit, client_of


@click.command(
    short_help="Put changed configuration files in force.",
    epilog="Example: lbd reload -c /etc/lbd/lbd.yaml",
)
@admin_options
def reload(path: Path | None, address: str | None, as_json: bool) -> None:
    """Let a running lbd load its configuration files again, and wait for the outcome.

    Connections, exchanges, health and weights go on. When the files cannot be put in force the running
    configuration stays; what is wrong is printed, and the exit code is 1.
    """
    client = client_of(path, address)
    report: dict[str, Any] = ask_or_exit(lambda: client.post("/api/reload", "kept_connections"))
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"reloaded in {report['seconds']:.2f} s; kept {report['kept_connections']} connections")
    for kind in report["kept"]:
        parts = [f"{report['kept'][kind]} kept"]
        for verb in ("changed", "added", "removed"):
            if names := report[verb][kind]:
                parts.append(f"{len(names)} {verb} ({_some(names)})")
        click.echo(f"{kind}: {', '.join(parts)}")
    for warning in report["warnings"]:
        click.echo(f"warning: {warning}", err=True)


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
