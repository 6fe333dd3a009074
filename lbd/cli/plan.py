"""`lbd plan`: what a new configuration would change."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from lbd.cli.admin_client import AdminClient, admin_options, ask_or_exit, client_of
from lbd.cli.loading import EXIT_BAD_CONFIG, load_or_exit
from lbd.cli.running import running_config

EXIT_SAME, EXIT_CHANGES = 0, 2  # as terraform plan -detailed-exitcode


@click.command(
    short_help="Say what a new configuration would change.",
    epilog="Example: lbd plan new.yaml -c /etc/lbd/lbd.yaml",
)
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="Compare with this configuration, in place of that of a running lbd.",
)
@admin_options
def plan(new: Path, against: Path | None, path: Path | None, address: str | None, as_json: bool) -> None:
    """Compare the configuration NEW with that of a running lbd (or --against another): listeners, routes,
    clusters, endpoints, who would be cut off, which keys would move. Its tests and the linter are run.

    Exits with 0 when nothing changes, 2 when something does, 78 when NEW is bad or fails its tests, and 1
    when lbd cannot be asked. Nothing is changed by it.
    """
    config = load_or_exit(new)
    from lbd.control.plan import plan as plan_for

    if against is not None:
        found = plan_for(load_or_exit(against), config)
    else:
        client = client_of(path, address)
        running = running_config(client)
        found = plan_for(running, config, connections=_connections(client), active=_active(client))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        from lbd.cli.plan_text import lines

        for line in lines(found, coloured=sys.stdout.isatty()):
            click.echo(line)
    if found["tests"]["failed"]:
        raise SystemExit(EXIT_BAD_CONFIG)
    raise SystemExit(EXIT_CHANGES if found["changed"] else EXIT_SAME)


def _connections(client: AdminClient) -> dict[str, int]:
    listeners = ask_or_exit(lambda: client.get("/api/listeners"))
    return {one["name"]: one["connections"] for one in listeners}


def _active(client: AdminClient) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for cluster in ask_or_exit(lambda: client.get("/api/clusters")):
        where = f"/api/clusters/{quote(cluster['name'], safe='')}"
        view: Any = ask_or_exit(partial(client.get, where, "endpoints"))
        found[cluster["name"]] = {one["name"]: one["active"] for one in view["endpoints"]}
    return found
