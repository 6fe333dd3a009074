"""`lbd disable` and `lbd enable`: take an endpoint out of service at once, and put it back."""

from __future__ import annotations

from pathlib import Path

import click

from lbd.cli.admin_client import admin_options
from lbd.cli.endpoint_change import change_endpoint, say


@click.command(short_help="Send nothing new to an endpoint.", epilog="Example: lbd disable api/10.0.0.1:9001")
@click.argument("name", metavar="CLUSTER/ENDPOINT")
@admin_options
def disable(name: str, path: Path | None, address: str | None, as_json: bool) -> None:
    """Send no new requests to an endpoint, not even those of its sessions; what is under way finishes.

    Unused connections to it are closed. It stays so over restarts of lbd, until `lbd enable`.
    """
    say(change_endpoint(name, {"state": "disabled"}, path, address)[1], as_json)


@click.command(
    short_help="Put an endpoint back into service.", epilog="Example: lbd enable api/10.0.0.1:9001"
)
@click.argument("name", metavar="CLUSTER/ENDPOINT")
@admin_options
def enable(name: str, path: Path | None, address: str | None, as_json: bool) -> None:
    """Put a disabled or draining endpoint back into service."""
    say(change_endpoint(name, {"state": "ready"}, path, address)[1], as_json)
