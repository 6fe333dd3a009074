"""The settings `resolver` and `discover`: what may be written, and what is said about the rest."""

from __future__ import annotations

from typing import Any

import pytest

from lbd import registry
from lbd.config.discovery import Discover
from lbd.config.loader import ConfigErrors, load_text
from lbd.config.schema import Config

CONFIG = """
resolver: {<resolver>}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app<cluster>}]
"""


NO_ADDRESS = "is not an IP address, or one with a port"


def load(cluster: str = ", endpoints: [10.0.0.1:80]", resolver: str = "") -> Config:
    return load_text(CONFIG.replace("<cluster>", cluster).replace("<resolver>", resolver), "c.yaml", {})


def refused(*args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(*args, **kwargs)
    return [f"{error.path}: {error.message}" for error in caught.value.errors]


def test_every_source_is_a_setting() -> None:
    assert set(registry.names("discovery")) == set(Discover.model_fields) - {"labels"}


@pytest.mark.parametrize(
    "discover",
    [
        "dns: app.internal:8080",
        "srv: _http._tcp.app.internal",
        "file: /a.yaml",
        "dns: a:1, labels: {zone: a}",
    ],
)
def test_good(discover: str) -> None:
    assert load(f", discover: {{{discover}}}").clusters[0].endpoints == ()
    assert load(f", endpoints: [10.0.0.1:80], discover: {{{discover}}}").clusters[0].discover is not None


@pytest.mark.parametrize(
    ("cluster", "error"),
    [
        ("", "clusters.app: give 'endpoints', or 'discover' to find them"),
        (", discover: {}", "clusters.app.discover: give one of dns, srv, file"),
        (", discover: {labels: {a: b}}", "clusters.app.discover: give one of dns, srv, file"),
        (
            ", discover: {dns: 'a:1', file: b}",
            "clusters.app.discover.file: give either 'dns' or 'file', not both",
        ),
        (
            ", discover: {dns: 10.0.0.1:80}",
            "clusters.app.discover.dns: '10.0.0.1' is no host name; write it under 'endpoints'",
        ),
        (
            ", discover: {dns: 'unix:/run/app.sock'}",
            "clusters.app.discover.dns: 'unix:/run/app.sock' is no host name; write it under 'endpoints'",
        ),
        (
            ", discover: {dns: app.internal}",
            "clusters.app.discover.dns: 'app.internal' has no port; write host:port",
        ),
        (", discover: {srv: 'a b'}", "clusters.app.discover.srv: 'a b' is not a host name"),
        (", discover: {file: ''}", "clusters.app.discover.file: must be the path of a file"),
        (
            ", discover: {consul: x}",
            "clusters.app.discover.consul: unknown setting 'consul'; known are dns, file, labels, srv",
        ),
    ],
)
def test_bad_discover(cluster: str, error: str) -> None:
    assert error in refused(cluster)


def test_weight_0_is_fine_beside_discover() -> None:
    load(", endpoints: [{address: '10.0.0.1:80', weight: 0}], discover: {dns: 'a:1'}")


def test_name_servers() -> None:
    servers = load(
        resolver='servers: [10.0.0.53, "10.0.0.54:5353", "fd00::53", "[FD00::54]:53"]'
    ).resolver.servers
    assert servers == ("10.0.0.53:53", "10.0.0.54:5353", "[fd00::53]:53", "[fd00::54]:53")


@pytest.mark.parametrize(
    ("resolver", "error"),
    [
        ("servers: [dns.internal]", "resolver.servers[0]: 'dns.internal' has no port; write host:port"),
        ("servers: ['dns.internal:53']", f"resolver.servers[0]: 'dns.internal:53' {NO_ADDRESS}"),
        ("servers: ['10.0.0.1:0']", f"resolver.servers[0]: '10.0.0.1:0' {NO_ADDRESS}"),
        (
            "servers: [1]",
            "resolver.servers[0]: must be the address of a name server, such as 10.0.0.53 or 10.0.0.53:53",
        ),
        ("min_ttl: 2h", "resolver: min_ttl must not be more than max_ttl"),
        ("max_ttl: 1s", "resolver: min_ttl must not be more than max_ttl"),
        ("min_ttl: 0s", "resolver.min_ttl: must be longer than 0"),
        ("attempts: 0", "resolver.attempts: must be at least 1"),
    ],
)
def test_bad_resolver(resolver: str, error: str) -> None:
    assert error in refused(resolver=resolver)
