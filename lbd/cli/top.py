"""`lbd top`: what a running lbd does, live: rates, states and latencies of clusters and endpoints."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from lbd.cli.admin_client import (
    EXIT_NOT_RUNNING,
    AdminClient,
    NotRunning,
    Refused,
    admin_options,
    client_of,
    fail,
)
from lbd.cli.top_reading import Figures, Reading, figures
from lbd.cli.top_table import SORTS, View, lines


@click.command(
    short_help="Watch clusters and endpoints live.",
    epilog="Example: lbd top -c /etc/lbd/lbd.yaml --sort errors",
)
@click.argument("clusters", metavar="[CLUSTER]...", nargs=-1)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1, max=3600),
    default=2.0,
    show_default=True,
    help="Time between two readings.",
)
@click.option(
    "--sort", type=click.Choice(list(SORTS)), default="name", show_default=True, help="Order of rows."
)
@click.option("--filter", "text", metavar="TEXT", default="", help="Only rows with this text in them.")
@click.option("--once", is_flag=True, help="Print what happens in one interval, and end.")
@admin_options
def top(
    clusters: tuple[str, ...],
    interval: float,
    sort: str,
    text: str,
    once: bool,
    path: Path | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Watch a running lbd: requests, errors, latencies and states of its clusters and endpoints.

    Keys: q ends, s sorts by something else, / filters (Enter keeps, Esc drops what is typed), arrows scroll.
    --json prints a line for each interval. Exits with 3 when lbd is not running.
    """
    client = client_of(path, address)
    view = View(sort, text, clusters)
    try:
        if once or as_json:
            _print(client, view, interval, once=once, as_json=as_json)
        elif not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError("this is no terminal; use --once or --json")
        else:
            from lbd.cli.top_screen import watch

            watch(client, view, interval)
    except NotRunning as error:
        fail(str(error), EXIT_NOT_RUNNING)
    except Refused as error:
        fail(str(error))


def _print(client: AdminClient, view: View, interval: float, *, once: bool, as_json: bool) -> None:
    for found in _readings(client, interval):
        if as_json:
            kept, endpoints = view.rows(found)
            said = found.as_json()
            names, addresses = {one.name for one in kept}, {(one.cluster, one.name) for one in endpoints}
            said["clusters"] = [one for one in said["clusters"] if one["name"] in names]
            said["endpoints"] = [
                one for one in said["endpoints"] if (one["cluster"], one["name"]) in addresses
            ]
            click.echo(json.dumps(said))
        else:
            click.echo("\n".join(text for _, text in lines(found, view)))
        if once:
            return


def _readings(client: AdminClient, interval: float) -> Iterator[Figures]:
    before = Reading.take(client)
    while True:
        time.sleep(max(0.0, before.when + interval - time.monotonic()))
        after = Reading.take(client)
        yield figures(before, after)
        before = after
