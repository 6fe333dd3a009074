"""`lbd proxy`: balance one address over others without a configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbd import registry
from lbd.cli.addresses import admin_address, admin_settings, bind_address, endpoint_addresses

if TYPE_CHECKING:
    from lbd.config.schema import Config


@click.command(
    short_help="Balance one address over others, without a configuration file.",
    epilog="Example: lbd proxy --listen :8080 --to 10.0.0.1:9001 --to 10.0.0.2:9001",
)
@click.option(
    "--listen",
    callback=bind_address,
    metavar="[HOST]:PORT",
    required=True,
    help="Address to listen on, such as :8080.",
)
@click.option(
    "--to",
    "endpoints",
    callback=endpoint_addresses,
    metavar="HOST:PORT",
    multiple=True,
    required=True,
    help="Address of an endpoint; may be given several times.",
)
@click.option(
    "--protocol",
    type=click.Choice(["http", "tcp"]),
    default="http",
    show_default=True,
    help="What is spoken.",
)
@click.option(
    "--balancer",
    type=click.Choice(registry.names("balancer")),
    default="round_robin",
    show_default=True,
    help="How an endpoint is chosen.",
)
@click.option(
    "--admin",
    callback=admin_address,
    metavar="[HOST]:PORT",
    help="Address of the admin listener with /metrics; none by default.",
)
def proxy(listen: str, endpoints: tuple[str, ...], protocol: str, balancer: str, admin: str | None) -> None:
    """Balance one address over one or more endpoints, without a configuration file."""
    try:
        config = build(listen, endpoints, protocol, balancer, admin)
    except ValueError as error:
        raise click.UsageError(_sentences(error)) from None
    from lbd.control.serve import serve

    raise SystemExit(serve(config))


def build(listen: str, endpoints: tuple[str, ...], protocol: str, balancer: str, admin: str | None) -> Config:
    """The configuration that the options stand for."""
    from lbd.config.schema import Config

    return Config.model_validate(
        {
            "listeners": [{"name": "proxy", "bind": listen, "protocol": protocol, "cluster": "endpoints"}],
            "clusters": [{"name": "endpoints", "balancer": balancer, "endpoints": list(endpoints)}],
            **({"admin": admin_settings(admin)} if admin else {}),
        }
    )


def _sentences(error: ValueError) -> str:
    """What rules between options say, such as an endpoint that is given twice."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(line["msg"] for line in error.errors(include_url=False))
    return str(error)
