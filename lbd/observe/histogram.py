"""Histograms of the shared block as Prometheus has them."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from lbd.engine.shared import bucket_bounds

BOUNDS = bucket_bounds()
# Every fourth bound (a power of two of 16 us) keeps series few; the block keeps the finer ones.
SHOWN_EVERY = 4
SHOWN_BOUNDS = BOUNDS[:-1:SHOWN_EVERY]
SHOWN_AT = [bisect_left(SHOWN_BOUNDS, bound) for bound in BOUNDS]  # fine bucket -> the one that it is part of
LE = (*map(repr, SHOWN_BOUNDS), "+Inf")


def histogram_parts(record: list[Any]) -> list[tuple[int, int]]:
    """The same buckets, but only those with something in them and not cumulative: (index, count) pairs; the
    index is that of SHOWN_BOUNDS, and one more for what is longer than all of them."""
    parts: dict[int, int] = {}
    for i, count in enumerate(record[1]):
        if count:
            parts[SHOWN_AT[i]] = parts.get(SHOWN_AT[i], 0) + count
    return list(parts.items())
