"""`lbd check`: is the configuration good?"""

from __future__ import annotations

from pathlib import Path

import click

from lbd.cli.loading import DEFAULT_PATH, config_option, load_or_exit


@click.command(epilog="Example: lbd check -c conf/lbd.yaml")
@config_option
def check(path: Path) -> None:
    """Check a configuration and say everything that is wrong with it.

    Prints `FILE: ok`, or one line per mistake on stderr and exits with 78.
    """
    check_config(path)


def check_config(path: Path | None) -> int:
    """Load, print the outcome, return the exit code."""
    path = path or DEFAULT_PATH
    load_or_exit(path)
    click.echo(f"{path}: ok")
    return 0
