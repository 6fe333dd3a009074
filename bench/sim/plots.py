"""The plots of a profile: latency and load spread per balancer, and latency over time where there is a
fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.sim import svg
from bench.sim.figures import Figures, steps
from bench.sim.profile import Profile
from bench.sim.run import Record

LINES_MOST = len(svg.COLOURS)


def draw(profile: Profile, records: Sequence[Record], figures: Sequence[Figures], target: Path) -> list[Path]:
    """Write the files into the directory, which is made; their paths."""
    target.mkdir(parents=True, exist_ok=True)
    pictures = {
        f"sim-{profile.name}-latency.svg": latency(profile, figures),
        f"sim-{profile.name}-spread.svg": spread(profile, figures),
    }
    if profile.fault is not None:
        pictures[f"sim-{profile.name}-time.svg"] = over_time(profile, records)
    for name, picture in pictures.items():
        (target / name).write_text(picture)
    return [target / name for name in pictures]


def label(one: Figures | Record) -> str:
    return f"{one.balancer} + {one.variant}" if one.variant else one.balancer


def latency(profile: Profile, figures: Sequence[Figures]) -> str:
    data = {label(one): {"p50": one.p50 * 1000, "p99": one.p99 * 1000} for one in figures}
    return svg.bars(f"{profile.name}: latency of good answers", "ms, logarithmic", data, logarithmic=True)


def spread(profile: Profile, figures: Sequence[Figures]) -> str:
    data = {label(one): {"largest / mean": one.max_mean, "variation": one.variation} for one in figures}
    return svg.bars(f"{profile.name}: attempts per weight over the endpoints", "1 = even, 0 = even", data)


def over_time(profile: Profile, records: Sequence[Record]) -> str:
    """p99 of each second; of a second without a good answer there is no point."""
    data: Mapping[str, list[tuple[float, float]]] = {
        label(record): [(step.at, step.p99 * 1000) for step in steps(record) if step.p99]
        for record in records[:LINES_MOST]
    }
    return svg.lines(
        f"{profile.name}: p99 of good answers in each second",
        "ms, logarithmic",
        data,
        shade=profile.window,
        logarithmic=True,
    )
