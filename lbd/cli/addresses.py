"""Callbacks for options that are addresses: a wrong one is a usage error, in the words of the config."""

from __future__ import annotations

from collections.abc import Callable

import click


def bind_address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The callback of an option that is an address to listen on."""
    from lbd.config.units import parse_bind

    return None if value is None else _parse(parse_bind, value)


def endpoint_addresses(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """The callback of a repeated option that is the address of an endpoint."""
    from lbd.config.units import parse_endpoint_address

    return tuple(_parse(parse_endpoint_address, address) for address in value)


def _parse(parse: Callable[[object], str], value: str) -> str:
    try:
        return parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
