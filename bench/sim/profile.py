"""What is simulated: servers with their faults, a load, and settings of lbd as its configuration has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.sim.load import Load
from bench.sim.server import Server
from lbd import registry
from lbd.config import schema

Settings = Mapping[str, Any]

# a configuration has one; nothing listens there
LISTENER = {"name": "sim", "bind": "127.0.0.1:80", "protocol": "http", "routes": [{"cluster": "sim"}]}


@dataclass(frozen=True)
class Profile:
    """cluster, config: settings beside the endpoints, in the words of the configuration. variants: name ->
    further settings of the cluster, each of which is run. window: the seconds whose requests make the
    percentiles; fault: when it begins, for the time to recover. nodes: of lbd, which share the requests and
    know nothing of each other."""

    name: str
    about: str
    servers: tuple[Server, ...]
    load: Load
    seconds: float
    cluster: Settings = field(default_factory=dict)
    config: Settings = field(default_factory=dict)
    variants: Mapping[str, Settings] = field(default_factory=lambda: {"": {}})
    balancers: tuple[str, ...] = ()
    window: tuple[float, float] | None = None
    fault: float | None = None
    nodes: int = 1

    def settings(self, balancer: str, variant: str = "") -> schema.Config:
        """The configuration of a run, checked as any other."""
        name, options = parse_balancer(balancer, self)
        return schema.Config.model_validate(
            {
                "listeners": [LISTENER],
                "clusters": [
                    {
                        "name": "sim",
                        "balancer": {"name": name, **options},
                        "endpoints": [
                            {
                                "address": f"10.0.0.{place + 1}:80",
                                "name": server.name,
                                "weight": server.weight,
                                "priority": server.priority,
                                "labels": server.labels,
                            }
                            for place, server in enumerate(self.servers)
                        ],
                        **self.cluster,
                        **self.variants[variant],
                    }
                ],
                **self.config,
            }
        )


def parse_balancer(text: str, profile: Profile) -> tuple[str, dict[str, Any]]:
    """`maglev:load_factor=1.25` -> name and options. Where a default means nothing to servers without
    connections (or to a run of a minute), it is one that does."""
    name, _, rest = text.partition(":")
    if name not in registry.BALANCERS:
        raise ValueError(f"unknown balancer {name!r}; there are {', '.join(registry.BALANCERS)}")
    options: dict[str, Any] = {}
    if name == "first_available":
        options["connections"] = max(server.slots for server in profile.servers)
    elif name == "time_window":
        options["window"] = "1s"
    for pair in rest.split(",") if rest else ():
        option, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{text!r}: an option is written name=value")
        options[option] = float(value) if value.replace(".", "", 1).isdigit() else value
    return name, options
