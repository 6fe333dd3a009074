"""Histograms of the shared block as Prometheus has them."""

from __future__ import annotations

from typing import Any

from lbd.engine.shared import bucket_bounds

BOUNDS = bucket_bounds()
# Every fourth bound (a power of two of 16 us) keeps series few; the block keeps the finer ones.
SHOWN = frozenset(range(0, len(BOUNDS) - 1, 4))


def histogram_rows(record: list[Any]) -> tuple[list[tuple[str, float]], float]:
    """[sum, counts] of the block -> cumulative (le, count) pairs and the sum in seconds."""
    total, counts = record
    rows: list[tuple[str, float]] = []
    cumulative = 0
    for i, count in enumerate(counts):
        cumulative += count
        if i in SHOWN:
            rows.append((repr(BOUNDS[i]), cumulative))
    rows.append(("+Inf", cumulative))
    return rows, total
