"""`lbd status`: what a running lbd is doing, as a table of its clusters and endpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from lbd.cli.admin_client import (
    EXIT_NOT_RUNNING,
    AdminClient,
    NotRunning,
    Refused,
    admin_options,
    client_of,
    fail,
    printable,
)

HEAD = ("CLUSTER", "ENDPOINT", "STATE", "HEALTH", "WEIGHT", "ACTIVE", "RECENT", "ERRORS", "LATENCY", "NOTES")
NUMBERS = {
    "WEIGHT", "ACTIVE", "RECENT", "ERRORS", "LATENCY",
    "USABLE", "REQ/S", "FAILED", "P50", "P99", "QUEUED", "CONNS", "AGE", "RECEIVED", "SENT",
}  # fmt: skip


@click.command(
    short_help="Show clusters and endpoints.", epilog="Example: lbd status -c /etc/lbd/lbd.yaml api"
)
@click.argument("clusters", metavar="[CLUSTER]...", nargs=-1)
@admin_options
def status(clusters: tuple[str, ...], path: Path | None, address: str | None, as_json: bool) -> None:
    """Show the clusters and endpoints of a running lbd, all of them or those that are named.

    RECENT, ERRORS and LATENCY are of the last seconds. Exits with 3 when lbd is not running.
    """
    client = client_of(path, address)
    try:
        found = _look(client, clusters)
    except NotRunning as error:
        fail(str(error), EXIT_NOT_RUNNING)
    except Refused as error:
        fail(str(error))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n".join(_lines(found)))


def _look(client: AdminClient, clusters: Sequence[str]) -> dict[str, Any]:
    info = client.get("/api/info", "counts")
    names = clusters or [cluster["name"] for cluster in client.get("/api/clusters")]
    return {
        "info": info,
        "clusters": [client.get(f"/api/clusters/{quote(name, safe='')}", "endpoints") for name in names],
    }


def _lines(found: dict[str, Any]) -> Iterator[str]:
    info, clusters = found["info"], found["clusters"]
    parts = [f"lbd {info['version']}", f"pid {info['pid']}", f"up {duration(time.time() - info['started'])}"]
    parts += [printable(info["environment"])] if info["environment"] else []
    parts += ["stopping"] if info["draining"] else []
    yield ", ".join(parts)
    for cluster in clusters:
        yield _cluster_line(cluster)
    rows = [_row(endpoint) for cluster in clusters for endpoint in cluster["endpoints"]]
    if rows:
        yield ""
        yield from table(HEAD, rows)


def _cluster_line(cluster: dict[str, Any]) -> str:
    counts = cluster["counts"]
    parts = [
        f"{counts['usable']} of {counts['endpoints']} endpoints usable",
        f"{cluster['active']} under way",
    ]
    parts += [f"region {cluster['region']}"] if cluster["region"] else []
    parts += [f"breaker {cluster['breaker']}"] if cluster["breaker"] not in (None, "closed") else []
    parts += ["panic: health is ignored"] if cluster["panic"] else []
    return printable(f"cluster {cluster['name']} ({cluster['balancer']}): {', '.join(parts)}")


def _row(endpoint: dict[str, Any]) -> tuple[str, ...]:
    weight, recent = endpoint["weight"], endpoint["recent"]
    has_recent = recent["requests"] >= 0.5
    return tuple(
        printable(cell)
        for cell in (
            endpoint["cluster"],
            endpoint["name"],
            endpoint["state"],
            endpoint["health"] if endpoint["health"] != "unknown" else "-",
            f"{weight['wanted']}{'*' if weight['wanted'] != weight['configured'] else ''}",
            str(endpoint["active"]),
            f"{recent['requests']:.0f}",
            f"{recent['errors']:.1%}" if has_recent else "-",
            f"{recent['latency'] * 1000:.1f}ms" if has_recent else "-",
            ", ".join(_notes(endpoint)),
        )
    )


def _notes(endpoint: dict[str, Any]) -> Iterator[str]:
    """What else matters to whoever wonders why it gets what it gets."""
    if endpoint["address"] != endpoint["name"]:
        yield endpoint["address"]
    if endpoint["empty"]:
        yield "empty"
    if endpoint["ejected"]:
        yield "ejected"
    if endpoint["breaker"] not in (None, "closed"):
        yield f"breaker {endpoint['breaker']}"
    if endpoint["weight"]["wanted"] != endpoint["weight"]["configured"]:
        yield f"* {endpoint['weight']['configured']} configured"
    if endpoint["connections"]["queued"]:
        yield f"{endpoint['connections']['queued']} queued"
    if endpoint["trouble"]:
        yield endpoint["trouble"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with columns of the same width; numbers are right-aligned."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = (
            cell.rjust(width) if name in NUMBERS else cell.ljust(width)
            for cell, width, name in zip(row, widths, head, strict=True)
        )
        yield "  ".join(cells).rstrip()


def duration(seconds: float) -> str:
    """The two largest units: 93784 -> `1d2h`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])
