"""Rules of the linter about listeners, that of the admin API too. See lint.py."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from lbd.config.lint import Finding
from lbd.config.schema import Config
from lbd.config.units import is_local

WIDEST = 8  # bits of a network that is no group of proxies any more


def admin_exposed(config: Config) -> Iterator[Finding]:
    """An admin listener that other machines reach, with a token that passes in plain text.

    Without a token it is an error."""
    if config.admin is not None and not is_local(config.admin.bind):
        yield Finding(
            ("admin", "bind"),
            "other machines reach it, and the token passes in plain text; bind to 127.0.0.1 or unix:, "
            "and reach it through ssh or a TLS listener of lbd",
        )


def trusts_everybody(config: Config) -> Iterator[Finding]:
    """Addresses or PROXY headers that are believed whoever says them."""
    for index, listener in enumerate(config.listeners):
        for name in ("trusted_proxies", "proxy_protocol"):
            for number, network in enumerate(getattr(listener, name)):
                if ip_network(network, strict=False).prefixlen < WIDEST:
                    yield Finding(
                        ("listeners", index, name, number),
                        f"any client in {network} can say that it is another; "
                        "name the networks of the proxies in front",
                    )
