"""`lbd config dump|schema`: the configuration in effect, and what may be written in one."""

from __future__ import annotations

from pathlib import Path

import click

from lbd.cli.loading import config_option, load_or_exit


@click.group(epilog="Example: lbd config dump -c conf/lbd.yaml")
def config() -> None:
    """Show the configuration in effect, or its schema."""


@config.command(epilog="Example: lbd config dump -c /etc/lbd/conf.d > effective.yaml")
@config_option
def dump(path: Path) -> None:
    """Print the configuration in effect as YAML, defaults included, variables expanded."""
    loaded = load_or_exit(path)
    from lbd.config.dump import dump as write

    click.echo(write(loaded), nl=False)


@config.command(epilog="Example: lbd config schema > lbd.schema.json")
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    import json

    from lbd.config.jsonschema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@config.command(hidden=True, epilog="Example: lbd config reference")
def reference() -> None:
    """Print the table of all settings as Markdown, for docs/configuration.md."""
    from lbd.config.reference import render

    click.echo(render(), nl=False)
