"""Figures of a run: latency, errors, how evenly the load was spread, and how long a fault was felt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, inf, sqrt
from typing import Any

from bench.sim.run import Record

STEP = 1.0  # seconds of one point over time
ERRORS_MOST = 0.01  # share of errors in a step that is still well
SLOWER = 2.0  # p95 of a step against the p99 before the fault that is still well
BEFORE_LEAST = 100  # good answers before a fault, fewer say nothing


@dataclass(frozen=True)
class Figures:
    """Latencies in seconds, of good answers to requests that came within the profile's window. max_mean,
    variation: of attempts per weight over the endpoints; the largest in relation to the mean, and standard
    deviation to mean. recovery: seconds from the fault's begin to the end of the last bad step; infinite: it
    was still bad at the end of the load; None: the profile has no fault. hit_share, moved: of cached keys,
    and of keys with another owner."""

    balancer: str
    variant: str
    requests: int
    errors: int
    reasons: dict[str, int]
    p50: float
    p90: float
    p99: float
    p999: float
    max_mean: float
    variation: float
    attempts: int
    retries: int
    retries_denied: int
    ejections: int
    openings: int
    cross_zone: int
    recovery: float | None
    hit_share: float | None
    moved: float | None

    def plain(self) -> dict[str, Any]:
        """For JSON, which knows no infinity: "never" in its place."""
        return {name: "never" if value == inf else value for name, value in asdict(self).items()}


def figures_of(record: Record) -> Figures:
    profile = record.profile
    begin, end = profile.window or (0.0, inf)
    good = sorted(
        seconds
        for arrived, seconds, reason in zip(record.arrived, record.seconds, record.reasons, strict=True)
        if not reason and begin <= arrived < end
    )
    reasons = Counter(record.codes[reason] for reason in record.reasons if reason)
    kinds = Counter(kind for _, kind, _ in record.events)
    loads = [record.attempts[server.name] / server.weight for server in profile.servers]
    max_mean, variation = spread(loads)
    attempts = sum(record.attempts.values())
    return Figures(
        balancer=record.balancer,
        variant=record.variant,
        requests=len(record.reasons),
        errors=sum(reasons.values()),
        reasons=dict(sorted(reasons.items())),
        p50=percentile(good, 0.50),
        p90=percentile(good, 0.90),
        p99=percentile(good, 0.99),
        p999=percentile(good, 0.999),
        max_mean=max_mean,
        variation=variation,
        attempts=attempts,
        retries=sum(sum(counters["retries"]) for counters in record.counters),
        retries_denied=sum(counters["retries_denied"] for counters in record.counters),
        ejections=kinds["ejected"],
        openings=kinds["breaker open"],
        cross_zone=sum(counters["cross_zone"] for counters in record.counters),
        recovery=recovery(record),
        hit_share=record.hits / attempts if attempts and any(s.cache for s in profile.servers) else None,
        moved=record.moved,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that so large a share does not exceed (nearest rank); 0 of nothing."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


def spread(loads: Sequence[float]) -> tuple[float, float]:
    """(largest / mean, standard deviation / mean); of no load at all (1, 0)."""
    mean = sum(loads) / len(loads)
    if not mean:
        return 1.0, 0.0
    return max(loads) / mean, sqrt(sum((load - mean) ** 2 for load in loads) / len(loads)) / mean


@dataclass(frozen=True)
class Step:
    """Requests that came within STEP seconds from `at`; latencies of the good answers."""

    at: float
    requests: int
    errors: int
    p50: float
    p95: float
    p99: float


def steps(record: Record) -> list[Step]:
    """The run over time. Seconds without a request are left out."""
    good: dict[int, list[float]] = {}
    errors: Counter[int] = Counter()
    for arrived, seconds, reason in zip(record.arrived, record.seconds, record.reasons, strict=True):
        place = int(arrived / STEP)
        good.setdefault(place, [])
        if reason:
            errors[place] += 1
        else:
            good[place].append(seconds)
    found = []
    for place in sorted(good):
        ordered = sorted(good[place])
        p50, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.95, 0.99))
        found.append(Step(place * STEP, len(ordered) + errors[place], errors[place], p50, p95, p99))
    return found


def recovery(record: Record) -> float | None:
    """Seconds for which the fault was felt, see Figures."""
    fault = record.profile.fault
    if fault is None:
        return None
    before = sorted(
        seconds
        for arrived, seconds, reason in zip(record.arrived, record.seconds, record.reasons, strict=True)
        if arrived < fault and not reason
    )
    if len(before) < BEFORE_LEAST:
        return None
    usual = percentile(before, 0.99)
    after = [step for step in steps(record) if step.at + STEP > fault]
    bad = [step for step in after if step.errors > ERRORS_MOST * step.requests or step.p95 > SLOWER * usual]
    if not bad:
        return 0.0
    return inf if bad[-1] is after[-1] else bad[-1].at + STEP - fault
