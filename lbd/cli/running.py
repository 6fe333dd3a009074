"""The configuration of a running lbd, for the verbs that compare another one with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lbd.cli.admin_client import AdminClient, ask_or_exit, fail

if TYPE_CHECKING:
    from lbd.config.schema import Config


def running_config(client: AdminClient, path: Path | None = None) -> Config:
    """As it is in force, with secrets masked. With the lines of `path`, when that says the same; else without
    any. The process ends when lbd cannot be asked."""
    from lbd.config.dump import from_data

    data = ask_or_exit(lambda: client.get("/api/config", "listeners"))
    try:
        config = from_data(data)
    except ValueError as error:
        fail(f"the running lbd has settings that this version does not know: {error}")
    if path is not None:
        _take_lines(config, path)
    return config


def _take_lines(config: Config, path: Path) -> None:
    from lbd.config.diff import diff
    from lbd.config.loader import ConfigErrors, load

    try:
        written = load(path)
    except ConfigErrors:
        return  # it is read only for its lines: what is in force is known
    if not diff(config, written):
        config.written_at(written.places)
