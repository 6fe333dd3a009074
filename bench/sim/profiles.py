"""The profiles that there are. Ten servers of 8 places each unless said otherwise; 60 seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.sim.faults import Cold, Failing, Fault, Refusing, Silent, Slow, flapping
from bench.sim.load import Load, Work
from bench.sim.profile import Profile
from bench.sim.server import Server

N = 10
KEYED = ("hash", "ip_hash", "ring_hash", "maglev", "maglev:load_factor=1.25")
LIVELY = ("round_robin", "least_conn", "p2c", "peak_ewma", "least_conn_rt")


def servers(count: int = N, *, first: tuple[Fault, ...] = (), **settings: Any) -> tuple[Server, ...]:
    """Servers that are alike; `first`: the faults of the first one."""
    return tuple(
        Server(f"e{number}", faults=first if number == 0 else (), **settings) for number in range(count)
    )


def steady(rate: float, **settings: Any) -> Load:
    return Load(rate=((0.0, rate),), **settings)


def even() -> Profile:
    return Profile(
        name="even",
        about="Servers and requests alike, the servers busy to 70 %.",
        servers=servers(),
        load=steady(1120, work=Work(0.05)),
        seconds=60,
    )


def mixed_costs() -> Profile:
    return Profile(
        name="mixed-costs",
        about="Servers alike, requests not: a few take seconds (lognormal, sigma 1.5); busy to 70 %.",
        servers=servers(),
        load=steady(1120, work=Work(0.05, "lognormal", 1.5)),
        seconds=60,
    )


def one_slow() -> Profile:
    return Profile(
        name="one-slow",
        about="One of ten servers is 20 times slower, all the time; all have places enough.",
        servers=servers(first=(Slow(factor=20),), slots=100),
        load=steady(800, work=Work(0.05)),
        seconds=60,
    )


def becomes_slow() -> Profile:
    return Profile(
        name="becomes-slow",
        about="One of ten servers is 20 times slower from second 20 to 40.",
        servers=servers(first=(Slow(20, 40, factor=20),), slots=100),
        load=steady(800, work=Work(0.05)),
        seconds=60,
        window=(20, 40),
        fault=20,
        variants={
            "": {},
            "latency check": {"passive_check": {"latency": {"factor": 5, "above": "100ms"}, "eject": "5s"}},
        },
    )


def mixed_capacity() -> Profile:
    sizes = (1, 1, 1, 1, 2, 2, 2, 4, 4, 4)
    return Profile(
        name="mixed-capacity",
        about="Servers with 4, 8 and 16 places and weights to match, busy to 70 %.",
        servers=tuple(Server(f"e{number}", weight=size, slots=4 * size) for number, size in enumerate(sizes)),
        load=steady(0.7 * 4 * sum(sizes) / 0.05, work=Work(0.05)),
        seconds=60,
    )


def one_dead() -> Profile:
    return Profile(
        name="one-dead",
        about="One of ten servers dies at second 20 and is back at 40; default settings.",
        servers=servers(first=(Refusing(20, 40),)),
        load=steady(800, work=Work(0.05)),
        seconds=60,
        window=(20, 40),
        fault=20,
    )


def one_silent() -> Profile:
    return Profile(
        name="one-silent",
        about="One of ten servers is cut off from second 20 to 40: nothing refuses, nothing answers.",
        servers=servers(first=(Silent(20, 40),)),
        load=steady(800, work=Work(0.05)),
        seconds=60,
        cluster={"timeouts": {"connect": "1s", "response": "5s"}, "retry": {"on": RETRIED}},
        window=(20, 40),
        fault=20,
    )


RETRIED = ["connect_failed", "connect_timeout", "reset", "timeout"]


def fails_fast() -> Profile:
    return Profile(
        name="fails-fast",
        about="One of ten servers answers 503 at once from second 20 to 40, and so looks idle.",
        servers=servers(first=(Failing(20, 40),)),
        load=steady(800, work=Work(0.05)),
        seconds=60,
        window=(20, 40),
        fault=20,
        variants={
            "no guard": {"passive_check": "off", "retry": {"limit": 0}},
            "default": {},
            "retried": {"retry": {"statuses": [503]}},
        },
    )


def is_flapping() -> Profile:
    return Profile(
        name="flapping",
        about="One of ten servers is dead for 2 s and up for 3 s, from second 10 to 50.",
        servers=servers(first=flapping(10, 50, up=3, down=2)),
        load=steady(800, work=Work(0.05)),
        seconds=60,
        window=(10, 50),
        fault=10,
    )


def cold_start() -> Profile:
    return Profile(
        name="cold-start",
        about="One of five servers comes up at second 20, at first 10 times slower, after 15 s no more.",
        servers=servers(5, first=(Refusing(0, 20), Cold(20, 35, factor=10)), slots=16),
        load=steady(800, work=Work(0.05)),
        seconds=60,
        cluster={"health_check": {"interval": "1s", "healthy": 1}},
        window=(20, 40),
        fault=20,
        variants={"": {}, "slow_start": {"slow_start": "15s"}},
    )


def overload() -> Profile:
    return Profile(
        name="overload",
        about="From second 20 to 40 half as many requests again as the servers can do; clients wait 2 s.",
        servers=servers(),
        load=Load(rate=((0, 960), (20, 2400), (40, 960)), work=Work(0.05)),
        seconds=60,
        cluster={"timeouts": {"response": "2s"}, "passive_check": "off"},
        window=(20, 40),
        fault=20,
        variants={"": {}, "adaptive": {"adaptive_limit": {"initial": 100}}},
        balancers=LIVELY,
    )


def burst() -> Profile:
    return Profile(
        name="burst",
        about="Three times the load for two seconds: the servers need the rest of it to catch up.",
        servers=servers(),
        load=Load(rate=((0, 800), (20, 2400), (22, 800)), work=Work(0.05)),
        seconds=60,
        window=(20, 30),
        fault=20,
    )


def retry_storm() -> Profile:
    return Profile(
        name="retry-storm",
        about="All servers are 3 times slower from second 20 to 25; attempts get 1 s, timeouts are retried.",
        servers=tuple(Server(f"e{number}", faults=(Slow(20, 25, factor=3),)) for number in range(N)),
        load=steady(960, work=Work(0.05)),
        seconds=60,
        cluster={"passive_check": "off", "retry": {"on": RETRIED, "limit": 3, "try_timeout": "1s"}},
        window=(25, 60),
        fault=20,
        variants={
            "no retries": {"retry": {"limit": 0, "try_timeout": "1s"}, "timeouts": {"response": "1s"}},
            "budget 20%": {},
            "no budget": {"retry_budget": {"ratio": "100%", "per_second": 1_000_000}},
        },
        balancers=LIVELY,
    )


def all_failing() -> Profile:
    return Profile(
        name="all-failing",
        about="All servers answer 503 from second 20 to 40; the breaker opens for 5 s.",
        servers=tuple(Server(f"e{number}", faults=(Failing(20, 40),)) for number in range(N)),
        load=steady(800, work=Work(0.05)),
        seconds=60,
        fault=20,
        variants={
            "": {},
            "breaker": {"breaker": {"consecutive": "none", "success_rate": "50%", "open": "5s"}},
        },
        balancers=LIVELY,
    )


def cache_keys() -> Profile:
    return Profile(
        name="cache-keys",
        about="Each server caches 500 of 5000 keys, a hit is a tenth of the work; one is out from 30 to 50.",
        servers=servers(first=(Refusing(30, 50),), cache=500, slots=8),
        load=steady(1600, work=Work(0.05), keys=5000, skew=0.9),
        seconds=60,
        cluster={"health_check": {"interval": "1s", "unhealthy": 1, "healthy": 1}},
        window=(30, 50),
        fault=30,
        balancers=(*KEYED, "ring_hash:load_factor=1.25", "round_robin", "p2c"),
    )


def zones() -> Profile:
    near = tuple(Server(f"a{n}", labels={"zone": "a"}, faults=_half(n)) for n in range(4))
    far = tuple(Server(f"b{n}", labels={"zone": "b"}, rtt=0.01) for n in range(4))
    return Profile(
        name="zones",
        about="Two zones of four servers, 10 ms apart; three of the near ones are dead from second 20 to 40.",
        servers=near + far,
        load=steady(360, work=Work(0.05)),
        seconds=60,
        cluster={"zones": {"prefer_local": True}, "health_check": {"interval": "1s"}},
        config={"zone": "a"},
        window=(20, 40),
        fault=20,
    )


def _half(number: int) -> tuple[Fault, ...]:
    return (Refusing(20, 40),) if number < 3 else ()


def regions() -> Profile:
    here = tuple(Server(f"eu{n}", labels={"region": "eu"}, faults=(Refusing(20, 40),)) for n in range(5))
    there = tuple(Server(f"us{n}", labels={"region": "us"}, rtt=0.09) for n in range(5))
    return Profile(
        name="regions",
        about="Two regions of five servers, 90 ms apart; the near one is dead from second 20 to 40.",
        servers=here + there,
        load=steady(500, work=Work(0.05)),
        seconds=60,
        cluster={
            "regions": {"order": ["eu", "us"], "hold": "5s"},
            "health_check": {"interval": "1s", "unhealthy": 2},
        },
        window=(20, 40),
        fault=20,
    )


def many_nodes() -> Profile:
    return Profile(
        name="many-nodes",
        about="Twenty nodes of lbd that know nothing of each other, in front of ten servers busy to 80 %.",
        servers=servers(),
        load=steady(1280, work=Work(0.05)),
        seconds=60,
        nodes=20,
    )


def closed_loop() -> Profile:
    return Profile(
        name="closed-loop",
        about="200 clients that wait for each answer and think for 100 ms; one of ten is 20 times slower.",
        servers=servers(first=(Slow(factor=20),)),
        load=Load(clients=200, think=0.1, work=Work(0.05)),
        seconds=60,
    )


PROFILES: dict[str, Callable[[], Profile]] = {
    made().name: made
    for made in (
        even,
        mixed_costs,
        mixed_capacity,
        one_slow,
        becomes_slow,
        closed_loop,
        many_nodes,
        one_dead,
        one_silent,
        fails_fast,
        is_flapping,
        cold_start,
        burst,
        overload,
        retry_storm,
        all_failing,
        cache_keys,
        zones,
        regions,
    )
}
