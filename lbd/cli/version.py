"""`lbd version`: the versions that matter in a bug report."""

from __future__ import annotations

import json as json_module
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click


@click.command(epilog="Example: lbd version --json")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def version(as_json: bool) -> None:
    """Print the versions of lbd, Python and uvloop."""
    from lbd import __version__

    versions = {"lbd": __version__, "python": platform.python_version(), "uvloop": _installed("uvloop")}
    if as_json:
        click.echo(json_module.dumps(versions))
    else:
        for name, number in versions.items():
            click.echo(f"{name} {number or 'not installed'}")


def _installed(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None
