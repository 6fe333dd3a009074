"""`lbd monitoring list|show`: dashboards for Grafana and alerts for Prometheus that come with lbd."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

import click

WHAT = {
    "alerts.yaml": "alert rules for Prometheus",
    "traffic.json": "Grafana: requests, errors, latency, connections",
    "endpoints.json": "Grafana: clusters, endpoints, pools, retries, breakers, discovery",
    "process.json": "Grafana: lbd itself, configuration, certificates",
}


def shipped() -> Traversable:
    """The directory that holds them."""
    return files("lbd.observe").joinpath("shipped")


@click.group(
    short_help="Dashboards and alerts for Grafana and Prometheus.",
    epilog="Example: lbd monitoring show alerts.yaml > /etc/prometheus/lbd-alerts.yaml",
)
def monitoring() -> None:
    """Dashboards for Grafana and alert rules for Prometheus, which fit the metrics of this lbd."""


@monitoring.command("list", epilog="Example: lbd monitoring list")
def list_all() -> None:
    """List them."""
    for name, what in WHAT.items():
        click.echo(f"{name:<16}{what}")


@monitoring.command(epilog="Example: lbd monitoring show traffic.json > /tmp/lbd-traffic.json")
@click.argument("name", type=click.Choice(list(WHAT)))
def show(name: str) -> None:
    """Print one of them, to be imported or put where Prometheus finds it."""
    click.echo(shipped().joinpath(name).read_text(encoding="utf-8"), nl=False)
