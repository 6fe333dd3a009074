"""`lbd recorder`: the last exchanges of a running lbd, from its flight recorder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from lbd.cli.admin_client import AdminClient, admin_options, ask_or_exit, client_of, printable

POLL_SECONDS = 0.5
MOST = 1000
FILTERS = ("listener", "route", "cluster", "endpoint", "method", "host", "path", "client", "status", "reason")

Record = dict[str, Any]


@click.command(
    short_help="Show the last exchanges.",
    epilog="Example: lbd recorder --errors --cluster api",
)
@click.option("--errors", "kind", flag_value="errors", help="Those that failed, which are kept longer.")
@click.option("--slow", "kind", flag_value="slow", help="Those that were slow, which are kept longer.")
@click.option("--id", "request_id", metavar="ID", help="The one with this request id.")
@click.option("--follow", is_flag=True, help="Go on with new ones, until interrupted.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, MOST), default=100, show_default=True, help="Most to show."
)
@click.option("--listener", help="Of this listener.")
@click.option("--route", help="Of this route.")
@click.option("--cluster", help="Of this cluster.")
@click.option("--endpoint", help="Whose last attempt went to this endpoint.")
@click.option("--method", help="With this method.")
@click.option("--host", help="With this host.")
@click.option("--path", "begins", metavar="PATH", help="Whose path begins so.")
@click.option("--client", help="From this address.")
@click.option("--status", help="With this status, or class such as 5xx.")
@click.option("--reason", help="With this reason code.")
@click.option("--least", type=float, metavar="SECONDS", help="That took as long.")
@admin_options
def recorder(
    kind: str | None,
    request_id: str | None,
    follow: bool,
    limit: int,
    begins: str | None,
    least: float | None,
    path: Path | None,
    address: str | None,
    as_json: bool,
    **given: str | None,
) -> None:
    """Show what lbd remembers of the last exchanges, the oldest first.

    With --json an object per line. Options narrow it down; all that are given must hold.
    """
    client = client_of(path, address)
    if request_id is not None:
        if follow or kind:
            raise click.UsageError("--id is for one exchange; leave --follow, --errors and --slow out")
        record = ask_or_exit(lambda: client.get(f"/api/recorder/{quote(request_id, safe='')}", "ended"))
        click.echo(json.dumps(record) if as_json else "\n".join(_in_full(record)))
        return
    asked = {"kind": kind, "path": begins, "least": least, **given}
    asked = {name: value for name, value in asked.items() if value is not None}
    records = ask_or_exit(lambda: _ask(client, {**asked, "limit": limit}))
    _say(records, as_json)
    if follow:
        _follow(client, asked, records, as_json)


def _ask(client: AdminClient, asked: dict[str, Any]) -> list[Record]:
    found: list[Record] = client.get(f"/api/recorder?{urlencode(asked)}", "records")["records"]
    return found[::-1]


def _follow(client: AdminClient, asked: dict[str, Any], last: list[Record], as_json: bool) -> None:
    """Ask again and again for what has ended since; the same moment may still bring more."""
    since = last[-1]["ended"] if last else 0.0
    known = {record["id"] for record in last}
    while True:
        time.sleep(POLL_SECONDS)
        fresh = ask_or_exit(partial(_ask, client, {**asked, "limit": MOST, "since": since}))
        _say([record for record in fresh if record["id"] not in known], as_json)
        if fresh:
            since = fresh[-1]["ended"]
            known = {record["id"] for record in fresh}


def _say(records: list[Record], as_json: bool) -> None:
    for record in records:
        click.echo(json.dumps(record) if as_json else _line(record))


def _line(record: Record) -> str:
    """One line of a list."""
    said = [printable(record[key]) for key in ("method", "path") if key in record]
    parts = [record["time"], record["client"], str(record.get("status", "-"))]
    parts += [f"{record['duration'] * 1000:.1f}ms", " ".join(said) or record["protocol"]]
    parts += [f"{record.get('route', record['listener'])}"]
    parts += ["-> " + printable(f"{record['cluster']}/{record['endpoint']}")] if "endpoint" in record else []
    parts += [record["reason"]] if "reason" in record else []
    parts += [f"({record['attempts_made']} attempts)"] if record.get("attempts_made", 0) > 1 else []
    parts += [record["request_id"]] if "request_id" in record else []
    return "  ".join(parts)


def _in_full(record: Record) -> Iterator[str]:
    """Everything about one, a line for each."""
    width = max(len(name) for name in record)
    for name, value in record.items():
        if name != "attempts":
            yield f"{name:<{width}}  {printable(str(value))}"
    for number, attempt in enumerate(record.get("attempts", []), 1):
        outcome = attempt.get("reason") or attempt.get("status", "")
        took = f"{attempt['duration'] * 1000:.1f}ms"
        yield f"{f'attempt {number}':<{width}}  {printable(attempt['endpoint'])}  {outcome}  {took}"
