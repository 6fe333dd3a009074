"""`lbd weight`: give an endpoint another share of the requests."""

from __future__ import annotations

from pathlib import Path

import click

from lbd.cli.admin_client import admin_options
from lbd.cli.endpoint_change import change_endpoint, say

MOST_WEIGHT = 65535


def _weight(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    """None for the weight that is configured."""
    if value == "default":
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 5 and int(value) <= MOST_WEIGHT):
        raise click.BadParameter(f"{value!r} is not a weight; write 0 to {MOST_WEIGHT}, or default")
    return int(value)


@click.command(short_help="Set the weight of an endpoint.", epilog="Example: lbd weight api/10.0.0.1:9001 5")
@click.argument("name", metavar="CLUSTER/ENDPOINT")
@click.argument("weight", metavar="N|default", callback=_weight)
@admin_options
def weight(name: str, weight: int | None, path: Path | None, address: str | None, as_json: bool) -> None:
    """Set the weight of an endpoint, its share of the requests; 0 gets none.

    It stays so over restarts of lbd, until `default` makes it what is configured.
    """
    say(change_endpoint(name, {"weight": weight}, path, address)[1], as_json)
