"""Figures as tables: plain text for a terminal, Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from bench.sim.figures import Figures

Cell = Callable[[Figures], str]


def milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return "-" if not value else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def felt(seconds: float | None) -> str:
    return "" if seconds is None else "to the end" if seconds == inf else f"{seconds:.0f} s"


def share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


# heading, cell, and whether the column stands there also when all of its cells say nothing
COLUMNS: tuple[tuple[str, Cell, bool], ...] = (
    ("balancer", lambda f: f.balancer, True),
    ("with", lambda f: f.variant, False),
    ("p50 ms", lambda f: milliseconds(f.p50), True),
    ("p90 ms", lambda f: milliseconds(f.p90), True),
    ("p99 ms", lambda f: milliseconds(f.p99), True),
    ("p99.9 ms", lambda f: milliseconds(f.p999), True),
    ("errors", lambda f: f"{f.errors} of {f.requests}" if f.errors else "0", True),
    ("max/mean", lambda f: f"{f.max_mean:.2f}", True),
    ("variation", lambda f: f"{f.variation:.2f}", True),
    ("retries", lambda f: str(f.retries), False),
    ("denied", lambda f: str(f.retries_denied), False),
    ("ejections", lambda f: str(f.ejections), False),
    ("openings", lambda f: str(f.openings), False),
    ("felt for", lambda f: felt(f.recovery), False),
    ("cross-zone", lambda f: share(f.cross_zone / f.attempts) if f.cross_zone else "0", False),
    ("hits", lambda f: share(f.hit_share), False),
    ("keys moved", lambda f: share(f.moved), False),
)


def rows(figures: Sequence[Figures]) -> list[list[str]]:
    """The heading and a row for each."""
    columns = [(heading, [cell(one) for one in figures], always) for heading, cell, always in COLUMNS]
    kept = [(h, cells) for h, cells, always in columns if always or any(c not in ("", "0") for c in cells)]
    return [[heading for heading, _ in kept], *map(list, zip(*(cells for _, cells in kept), strict=True))]


def text(figures: Sequence[Figures]) -> str:
    table = rows(figures)
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    left = {place for place, heading in enumerate(table[0]) if heading in ("balancer", "with")}
    lines = [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(figures: Sequence[Figures]) -> str:
    table = rows(figures)
    named = [heading in ("balancer", "with") for heading in table[0]]
    rule = ["---" if is_name else "---:" for is_name in named]
    lines = [
        [f"`{cell}`" if heading == "balancer" else cell for heading, cell in zip(table[0], row, strict=True)]
        for row in table[1:]
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in (table[0], rule, *lines))
