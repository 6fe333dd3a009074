"""Callbacks for options that are addresses: a wrong one is a usage error, in the words of the config.

Also what verbs without a configuration file need for their admin listener.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import click

TOKEN_VARIABLE = "LBD_ADMIN_TOKEN"


def bind_address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The callback of an option that is an address to listen on."""
    from lbd.config.units import parse_bind

    return None if value is None else _parse(parse_bind, value)


def admin_address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The callback of an option that is an address for the admin listener."""
    from lbd.config.units import is_local

    bind = bind_address(ctx, param, value)
    if bind is not None and not is_local(bind) and admin_token() is None:
        raise click.BadParameter(f"other machines can reach it: set {TOKEN_VARIABLE}, or bind to 127.0.0.1")
    return bind


def admin_token() -> str | None:
    """The token in the environment; a usage error when it cannot be one."""
    from lbd.config.units import parse_token

    token = os.environ.get(TOKEN_VARIABLE)
    try:
        return parse_token(token) if token else None
    except ValueError as error:
        raise click.UsageError(f"{TOKEN_VARIABLE} {error}") from None


def admin_settings(bind: str) -> dict[str, str]:
    """The settings of an admin listener there, with the token in the environment."""
    token = admin_token()
    return {"bind": bind, **({"token": token} if token is not None else {})}


def endpoint_addresses(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """The callback of a repeated option that is the address of an endpoint."""
    from lbd.config.units import parse_endpoint_address

    return tuple(_parse(parse_endpoint_address, address) for address in value)


def _parse(parse: Callable[[object], str], value: str) -> str:
    try:
        return parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def reachable(address: str) -> str:
    """An address that a client on this machine can use, for one to listen on."""
    from lbd.config.units import join_address, split_address

    host, port = split_address(address)
    if host.startswith("unix:"):
        return address
    return join_address({"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
