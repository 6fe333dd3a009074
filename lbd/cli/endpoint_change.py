"""Changing one endpoint of a running lbd, and saying what has become of it: what the verbs for it share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lbd.cli.admin_client import AdminClient, ask_or_exit, client_of, endpoint_path, printable


def change_endpoint(
    name: str, change: dict[str, Any], path: Path | None, address: str | None
) -> tuple[AdminClient, dict[str, Any]]:
    """Ask for a change of CLUSTER/ENDPOINT: the client, and what it is then. Errors end the process."""
    where = endpoint_path(name)
    client = client_of(path, address)
    changed = ask_or_exit(lambda: client.patch(where, change, "saved"))
    if not changed["saved"]:
        click.echo("Warning: lbd could not save it, so it ends with the next restart of lbd", err=True)
    return client, changed["endpoint"]


def say(endpoint: dict[str, Any], as_json: bool) -> None:
    """The endpoint as it is now, in one line or as JSON."""
    if as_json:
        click.echo(json.dumps(endpoint, indent=2))
        return
    weight = endpoint["weight"]
    set_apart = f" ({weight['configured']} configured)" if weight["wanted"] != weight["configured"] else ""
    click.echo(
        f"{title(endpoint)}: {endpoint['state']}, weight {weight['wanted']}{set_apart}, {under_way(endpoint)}"
    )


def title(endpoint: dict[str, Any]) -> str:
    """CLUSTER/ENDPOINT."""
    return printable(f"{endpoint['cluster']}/{endpoint['name']}")


def under_way(endpoint: dict[str, Any]) -> str:
    """How busy it is."""
    return "empty" if endpoint["empty"] else f"{endpoint['active']} under way"
