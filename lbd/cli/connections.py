"""`lbd connections`: who is connected to a running lbd, and what is under way there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from lbd.cli.admin_client import admin_options, ask_or_exit, client_of, printable
from lbd.cli.status import duration, table

MOST = 1000
KINDS = ("handshake", "http1", "http2", "websocket", "tcp")
HEAD = ("LISTENER", "CLIENT", "KIND", "TLS", "AGE", "RECEIVED", "SENT", "UNDER WAY")


@click.command(
    short_help="Show the open connections of clients.",
    epilog="Example: lbd connections --listener web --client 10.0.0.0/8",
)
@click.option("--listener", metavar="NAME", help="Of this listener.")
@click.option("--client", metavar="ADDRESS", help="From this IP address or network.")
@click.option("--kind", type=click.Choice(KINDS), help="Of this kind.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, MOST), default=100, show_default=True, help="Most to show."
)
@admin_options
def connections(path: Path | None, address: str | None, as_json: bool, **given: Any) -> None:
    """Show the open connections of clients, the newest first, and what is under way on them.

    Bytes are those of the TCP connection. Options narrow it down; all that are given must hold.
    """
    client = client_of(path, address)
    asked = urlencode({name: value for name, value in given.items() if value is not None})
    answer = ask_or_exit(lambda: client.get(f"/api/connections?{asked}", "connections"))
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in table(HEAD, [_row(one) for one in answer["connections"]]):
        click.echo(line)
    for line in _remarks(answer):
        click.echo(line, err=True)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    where = f"[{one['client']}]" if ":" in one["client"] else one["client"]
    return (
        printable(one["listener"]),
        f"{where}:{one['port']}" if one["port"] is not None else "unix",
        one["kind"] if one["streams"] is None else f"{one['kind']} ({one['streams']})",
        one["tls"] or "-",
        _seconds(one["age"]),
        _bytes(one["bytes_received"]),
        _bytes(one["bytes_sent"]),
        _under_way(one),
    )


def _under_way(one: dict[str, Any]) -> str:
    if not one["exchanges"]:
        return "handshake" if one["kind"] == "handshake" else "busy" if one["busy"] else "idle"
    first = one["exchanges"][0]
    target = "/".join(first[key] for key in ("cluster", "endpoint") if first[key] is not None)
    said = [first[key] for key in ("method", "route") if first[key] is not None]
    said += [f"-> {target}"] if target else []
    said += [f"for {_seconds(first['seconds'])}"]
    said += [f"and {len(one['exchanges']) - 1} more"] if len(one["exchanges"]) > 1 else []
    return printable(" ".join(said))


def _remarks(answer: dict[str, Any]) -> Iterator[str]:
    if answer["silent_workers"]:
        names = ", ".join(str(index) for index in answer["silent_workers"])
        yield f"Warning: not answered in time: worker {names}"
    if not answer["complete"]:
        yield f"there are more than these {len(answer['connections'])}; {answer['open']} are open"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 10 else duration(seconds)


def _bytes(count: int | None) -> str:
    """`-`, `512`, `1.5K`, `20M`."""
    if count is None:
        return "-"
    size, units = float(count), list("PTGMK")
    while size >= 1000 and units:
        size, unit = size / 1024, units.pop()
    if count < 1000:
        return str(count)
    return f"{size:.1f}{unit}" if size < 9.95 else f"{size:.0f}{unit}"
