"""Does the cost of a pick and of a route lookup depend on how many there are? 100 000 against 10, target 1.3.

    python -m bench.micro.ratios [--target 1.3]

Sizes are timed in turns, many short rounds each, and the fastest round of each counts: what disturbs a round
only makes it slower. A pick goes over all endpoints as the algorithm does, so that caches miss as they would;
a route is looked up for 16 requests that lie far apart. What is O(log n) by name may grow so. Exit code 1
when a ratio is above the target.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable

from bench.micro.subjects import CLIENT, SHAPES, SIZES, balancer, request_for, router
from lbd import registry

ROUNDS = 15
PICKS = 100_000
MATCHES = 5_000
REQUESTS = 16
LOGARITHMIC = {"ring_hash"}  # the name promises O(log n)
GROWTH = math.log(SIZES[-1]) / math.log(SIZES[0])

Timer = Callable[[], float]


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def pick_timer(name: str, size: int) -> Timer:
    picker = balancer(name, size)
    return lambda: seconds(lambda: picker.pick_many(PICKS)) / PICKS


def route_timer(shape: str, size: int) -> Timer:
    routes = router(shape, size)
    heads = [request_for(shape, n * size // REQUESTS) for n in range(REQUESTS)]
    for asked in heads:
        if routes.explain(asked)["route"] is None:
            raise SystemExit(f"no route for {asked!r}")
    return lambda: (
        sum(
            seconds(lambda asked=asked: routes.match_many(asked, CLIENT, MATCHES))  # type: ignore[misc]
            for asked in heads
        )
        / (MATCHES * REQUESTS)
    )


def measure(make: Callable[[str, int], Timer], subject: str) -> list[float]:
    """Nanoseconds of one operation for each size."""
    timers = [make(subject, size) for size in SIZES]
    rounds = [[timer() for timer in timers] for _ in range(ROUNDS)]
    return [min(times) * 1e9 for times in zip(*rounds, strict=True)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--target", type=float, default=1.3, help="highest ratio that passes (default 1.3)")
    target = parser.parse_args(arguments).target
    print(
        f"{'ns per operation':24}"
        + "".join(f"{size:>10}" for size in SIZES)
        + f"{'ratio':>8}  target {target}"
    )
    missed = 0
    for kind, make, subjects in (("pick", pick_timer, registry.BALANCERS), ("route", route_timer, SHAPES)):
        for subject in subjects:
            costs = measure(make, subject)
            ratio = costs[-1] / costs[0]
            allowed = target * (GROWTH if subject in LOGARITHMIC else 1)
            missed += ratio > allowed
            row = "".join(f"{cost:10.1f}" for cost in costs)
            print(
                f"{kind + ' ' + subject:24}{row}{ratio:8.2f}  {'ok' if ratio <= allowed else 'MISSED'}",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
