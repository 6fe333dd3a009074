"""`lbd drain` and `lbd undrain`: take an endpoint out of service gently, and put it back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from lbd.cli.admin_client import AdminClient, admin_options, ask_or_exit, endpoint_path, fail
from lbd.cli.endpoint_change import change_endpoint, say, title, under_way

POLL_SECONDS = 0.1


@click.command(
    short_help="Let an endpoint finish what it has.",
    epilog="Example: lbd drain api/10.0.0.1:9001 --wait 60",
)
@click.argument("name", metavar="CLUSTER/ENDPOINT")
@click.option(
    "--wait",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Wait until nothing is under way with it; exits with 1 when that takes longer.",
)
@admin_options
def drain(name: str, seconds: float | None, path: Path | None, address: str | None, as_json: bool) -> None:
    """Send no new requests to an endpoint, but those of sessions that it has; let the others finish.

    It stays so over restarts of lbd, until `lbd undrain`.
    """
    client, endpoint = change_endpoint(name, {"state": "draining"}, path, address)
    if seconds is not None:
        endpoint = _wait(client, endpoint_path(name), endpoint, seconds)
    say(endpoint, as_json)


def _wait(client: AdminClient, path: str, endpoint: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Until it is empty; the process ends when it is not by then."""
    deadline = time.monotonic() + seconds
    said = None
    while not endpoint["empty"]:
        if endpoint["state"] == "ready":
            fail(f"{title(endpoint)} has been made ready again meanwhile")
        if endpoint["active"] != said:
            said = endpoint["active"]
            click.echo(f"{title(endpoint)}: {under_way(endpoint)}", err=True)
        if time.monotonic() >= deadline:
            fail(f"{title(endpoint)} goes on draining: {under_way(endpoint)} after {seconds:g} s")
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        endpoint = ask_or_exit(lambda: client.get(path, "empty"))
    return endpoint


@click.command(
    short_help="Put an endpoint back into service.", epilog="Example: lbd undrain api/10.0.0.1:9001"
)
@click.argument("name", metavar="CLUSTER/ENDPOINT")
@admin_options
def undrain(name: str, path: Path | None, address: str | None, as_json: bool) -> None:
    """Put a draining or disabled endpoint back into service."""
    say(change_endpoint(name, {"state": "ready"}, path, address)[1], as_json)
