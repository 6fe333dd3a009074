"""Host names of endpoints -> addresses, off the loop.

A name that does not resolve does not stop the start: its endpoint is not picked until it does, and a
background task asks again (nginx, users complain, refuses to start; see features 3.12).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable

from lbd.config import schema
from lbd.config.units import split_address
from lbd.engine.cluster import Cluster
from lbd.observe.log import Log

START_TIMEOUT = 2.0
RETRY_SECONDS = 5.0


def hosts_of(config: schema.Config) -> set[str]:
    """All hosts that endpoints name, literals included."""
    return {split_address(e.address)[0] for c in config.clusters for e in c.endpoints}


async def resolve_hosts(hosts: Iterable[str], log: Log, timeout: float = START_TIMEOUT) -> dict[str, str]:
    """Host -> IP literal, for those known within `timeout` seconds."""
    addresses: dict[str, str] = {}
    names = []
    for host in hosts:
        if host.startswith("unix:"):
            addresses[host] = host
            continue
        try:
            addresses[host] = str(ipaddress.ip_address(host))
        except ValueError:
            names.append(host)
    if names:
        found = await asyncio.gather(*(_resolve(name, timeout) for name in names))
        for name, address in zip(names, found, strict=True):
            if address is None:
                log.warning(f"endpoint host {name} does not resolve; it gets no traffic until it does")
            else:
                addresses[name] = address
    return addresses


async def _resolve(name: str, timeout: float) -> str | None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            rows = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return None
    rows.sort(key=lambda row: row[0] != socket.AF_INET)
    # A link-local address means nothing without its interface, so it is no answer.
    literals = [str(row[4][0]) for row in rows]
    return next((literal for literal in literals if "%" not in literal), None)


async def keep_resolving(clusters: Iterable[Cluster], log: Log, resolved: Callable[[Cluster], None]) -> None:
    """Ask again for endpoints without an address until all have one."""
    while True:
        waiting = [(c, e) for c in clusters for e in c.endpoints if not e.resolved]
        if not waiting:
            return
        await asyncio.sleep(RETRY_SECONDS)
        for cluster, endpoint in waiting:
            host, port = split_address(endpoint.address)
            address = await _resolve(host, START_TIMEOUT)
            if address is not None:
                endpoint.resolve(address, port)
                log.info(f"endpoint {cluster.name}/{endpoint.name}: {host} resolves to {address}")
                resolved(cluster)
