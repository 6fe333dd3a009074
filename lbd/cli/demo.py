"""`lbd demo`: a running load balancer in front of three small servers, without any preparation."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import click

from lbd.cli.addresses import admin_address, admin_settings, bind_address, reachable

if TYPE_CHECKING:
    from lbd.config.schema import Config

ORIGIN_NAMES = ("red", "green", "blue")


@click.command(
    short_help="Try lbd: run it in front of three small servers.",
    epilog="Example: lbd demo --listen 127.0.0.1:8088",
)
@click.option(
    "--listen",
    callback=bind_address,
    metavar="[HOST]:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="Address of the demo.",
)
@click.option(
    "--admin",
    callback=admin_address,
    metavar="[HOST]:PORT",
    default="127.0.0.1:9900",
    show_default=True,
    help="Address of the admin listener, with the metrics.",
)
def demo(listen: str, admin: str) -> None:
    """Run lbd in front of three small servers that say who they are and what they received.

    They answer any path; /slow waits two seconds, /stream answers in chunks, /echo returns what was posted.
    """
    from lbd.cli.demo_origin import DemoOrigins

    listen = free_address("--listen", listen)
    admin = free_address("--admin", admin)
    with DemoOrigins(ORIGIN_NAMES) as origins:
        config = build(listen, admin, origins.addresses)
        _explain(listen, admin, origins.addresses)
        from lbd.control.serve import serve

        code = serve(config)
    raise SystemExit(code)


def build(listen: str, admin: str, origins: dict[str, str]) -> Config:
    """The configuration of the demo: one http listener, one cluster of all origins, the admin listener."""
    from lbd.config.schema import Config

    return Config.model_validate(
        {
            "environment": "demo",
            "admin": admin_settings(admin),
            "drain_timeout": "2s",
            "listeners": [{"name": "demo", "bind": listen, "cluster": "origins"}],
            "clusters": [
                {
                    "name": "origins",
                    "endpoints": [{"name": name, "address": address} for name, address in origins.items()],
                }
            ],
        }
    )


def free_address(option: str, address: str) -> str:
    """The address, its port chosen when it is 0; a usage error when it cannot be bound.

    Tried here, before anything is started, to be able to name the option that helps.
    """
    from lbd.config.units import join_address, split_address

    host, port = split_address(address)
    family = socket.AF_INET6 if not host or ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host or "::", port))
            return join_address(host, probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            other = join_address(host, port + 1 if port < 65535 else 0)
            what = f"{address} is already in use; choose another address with {option} {other}"
        else:
            reason = os.strerror(error.errno) if error.errno else str(error)
            what = f"{address} cannot be used: {reason}; choose another address with {option}"
        click.echo(f"Error: {what}", err=True)
        raise SystemExit(1) from None


def _explain(listen: str, admin: str, origins: dict[str, str]) -> None:
    click.echo(f"Three servers: {', '.join(f'{name} on {address}' for name, address in origins.items())}")
    click.echo(f"Try:      curl -i http://{reachable(listen)}/hello    (and /slow, /stream, /echo)")
    click.echo(f"Metrics:  curl http://{reachable(admin)}/metrics")
    click.echo(f"Watch it: lbd status --admin {reachable(admin)}    (and drain, weight, ...)")
    click.echo("Ctrl-C ends it.")
