"""`lbd run`: serve a configuration in the foreground until a signal ends it."""

from __future__ import annotations

from pathlib import Path

import click

from lbd.cli.loading import config_option, load_or_exit


@click.command(epilog="Example: lbd run -c conf/lbd.yaml")
@config_option
def run(path: Path) -> None:
    """Run the load balancer in the foreground.

    SIGTERM and SIGINT stop it after the exchanges in flight; a second one stops it at once.
    """
    config = load_or_exit(path)
    from lbd.control.serve import serve

    raise SystemExit(serve(config, reload_from=path))
