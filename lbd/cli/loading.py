"""The -c option, and loading the configuration with its errors printed: shared by the verbs that need one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from lbd.config.schema import Admin, Config

T = TypeVar("T")

DEFAULT_PATH = Path("/etc/lbd/lbd.yaml")
EXIT_BAD_CONFIG = 78  # EX_CONFIG of sysexits.h; systemd prints it by name


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option -c/--config, passed as `path`."""
    return click.option(
        "-c",
        "--config",
        "path",
        metavar="FILE|DIR",
        type=click.Path(path_type=Path),
        default=DEFAULT_PATH,
        show_default=True,
        help="Configuration file, or a directory of *.yaml, *.yml and *.json files.",
    )(command)


def load_or_exit(path: Path) -> Config:
    """The configuration; when it is bad its errors go to stderr and the process ends with 78."""
    from lbd.config.loader import load

    return _or_exit(load, path)


def admin_or_exit(path: Path) -> Admin | None:
    """Its `admin` settings, even if others are bad; else the same."""
    from lbd.config.loader import load_admin

    return _or_exit(load_admin, path)


def _or_exit(read: Callable[[Path], T], path: Path) -> T:
    from lbd.config.errors import ConfigErrors

    try:
        return read(path)
    except ConfigErrors as errors:
        click.echo(str(errors), err=True)
        raise SystemExit(EXIT_BAD_CONFIG) from None
