"""`lbd replay`: what a new configuration would make of the requests that were recorded."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbd.cli.admin_client import admin_options, client_of, fail
from lbd.cli.loading import DEFAULT_PATH, load_or_exit
from lbd.cli.plan import EXIT_CHANGES, EXIT_SAME
from lbd.cli.replay_source import NotARecord, Numbered, opened, recorded_by, recorded_in
from lbd.cli.running import running_config

if TYPE_CHECKING:
    from lbd.control.replay import Replay

PROGRESS_SECONDS = 0.2
PARTS = ("changes", "undecided", "deviations", "unusable")
ONLY = {"changed": "changes", "undecided": "undecided", "deviating": "deviations"}


def _since(ctx: click.Context, param: click.Parameter, value: str | None) -> float:
    """`15m` ago, or a time such as 2026-11-21T20:00:00Z -> Unix time; 0: of any age."""
    from lbd.config.units import BadValue, parse_duration

    if value is None:
        return 0.0
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_duration(value)
    except BadValue:
        raise click.BadParameter(
            f"{value!r} is neither a duration such as 15m nor a time such as 2026-11-21T20:00:00Z"
        ) from None


@click.command(
    short_help="Put recorded requests through a new configuration.",
    epilog="Example: lbd replay new.yaml -c /etc/lbd/lbd.yaml",
)
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source",
    metavar="FILE|-",
    help="Take what `lbd recorder --json` has printed, in place of what a running lbd remembers.",
)
@click.option(
    "--against",
    "--old",
    "against",
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="Compare with this configuration, in place of that of a running lbd.",
)
@click.option("-n", "--limit", type=click.IntRange(1), help="Most to take: the newest, of a file the first.")
@click.option("--since", metavar="TIME", callback=_since, help="Not older than 15m, or 2026-11-21T20:00:00Z.")
@click.option("--only", type=click.Choice(list(ONLY)), help="Tell of these alone.")
@click.option("--strict", is_flag=True, help="What cannot be decided counts as a difference.")
@admin_options
def replay(
    new: Path,
    source: str | None,
    against: Path | None,
    limit: int | None,
    since: float,
    only: str | None,
    strict: bool,
    path: Path | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Decide the requests that the flight recorder remembers once more, by the configuration of the running
    lbd and by NEW, and tell which would be refused, answered otherwise, or go elsewhere. Nothing is sent, and
    the lbd that serves is asked for what it remembers, no more.

    What hangs on a part of a request that is not recorded, such as a header field, is told as undecided,
    never guessed. Exits with 0 when nothing differs, 2 when something does, 78 when NEW is bad, and 1 when
    lbd cannot be asked or the file has no record.
    """
    config = load_or_exit(new)
    client = client_of(path, address) if source is None or against is None else None
    if against is not None:
        old = load_or_exit(against)
    else:
        assert client is not None
        old = running_config(client, path if address is not None else path or DEFAULT_PATH)
    from lbd.control.replay import Replay

    with Replay(old, config) as replayed:
        if source is not None:
            with opened(source) as file:
                _take(replayed, recorded_in(file, since, limit))
            _need_a_record(replayed, source)
        else:
            assert client is not None
            _take(replayed, recorded_by(client, since, limit))
        _tell(replayed, only, as_json)
    differs = replayed.report.differs or (strict and replayed.report.open)
    raise SystemExit(EXIT_CHANGES if differs else EXIT_SAME)


def _take(replayed: Replay, records: Iterable[Numbered]) -> None:
    """All of them; on a terminal it is said how many so far."""
    shown, next_at = sys.stderr.isatty(), time.monotonic() + PROGRESS_SECONDS
    said = False
    for record, line in records:
        if isinstance(record, NotARecord):
            replayed.report.unusable(record, line)
        else:
            replayed.take(record, line)
        if shown and time.monotonic() >= next_at:
            click.echo(f"\r{replayed.report.requests} requests replayed", nl=False, err=True)
            next_at, said = time.monotonic() + PROGRESS_SECONDS, True
    if said:
        click.echo("\r\x1b[K", nl=False, err=True)


def _need_a_record(replayed: Replay, source: str) -> None:
    """A file with lines, none of which is a record, is another file than was meant."""
    unusable = replayed.report.to_data()["unusable"]
    if unusable and not replayed.report.requests:
        first = min(unusable, key=lambda row: row["lines"][0])
        fail(f"{source}:{first['lines'][0]}: {first['why']}; no line is a record of the flight recorder")


def _tell(replayed: Replay, only: str | None, as_json: bool) -> None:
    found: dict[str, Any] = replayed.report.to_data()
    if only is not None:
        found = {name: value for name, value in found.items() if name not in PARTS or name == ONLY[only]}
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from lbd.cli.replay_text import lines

    for line in lines(found, coloured=sys.stdout.isatty()):
        click.echo(line)
