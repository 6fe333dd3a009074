"""From samples to verdicts: medians over rounds, the better of nginx and HAProxy, ratios, targets. Pure
functions.

Invariants: an invalid sample enters no median; one invalid sample makes the whole cell invalid, so that
errors cannot hide behind good rounds; an invalid reference is not compared with; a target that cannot be
judged is missed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.compare.works import REFERENCES, ROWS, SUBJECT, Row

Sample = Mapping[str, Any]


def cell(samples: Iterable[Sample], row: Row, proxy: str) -> dict[str, Any] | None:
    """Median, least and greatest value of one row for one proxy; None when it took no part."""
    own = [sample for sample in samples if sample["work"] == row.work and sample["proxy"] == proxy]
    if not own:
        return None
    values = [
        sample[row.metric] / row.scale
        for sample in own
        if not sample["problems"] and sample.get(row.metric) is not None
    ]
    problems = sorted({problem for sample in own for problem in sample["problems"]})
    return {
        "value": statistics.median(values) if values else None,
        "least": min(values, default=None),
        "greatest": max(values, default=None),
        "rounds": len(values),
        "problems": problems,
        "valid": bool(values) and not problems,
    }


def better_reference(cells: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The reference with the lower valid value."""
    known = [
        name for name in REFERENCES if name in cells and cells[name]["valid"] and cells[name]["value"] > 0
    ]
    return min(known, key=lambda name: float(cells[name]["value"])) if known else None


def reference_of(cells: Mapping[str, Mapping[str, Any]], row: Row) -> str | None:
    """Who this row is compared with; None when that one took no part or made errors."""
    if row.against is None:
        return better_reference(cells)
    found = cells.get(row.against)
    return row.against if found and found["valid"] and found["value"] > 0 else None


def verdict(row: Row, value: float | None, ratio: float | None) -> str | None:
    """ok, MISS, or `unknown` when there is a target and nothing to hold against it; None without a target."""
    if row.limit is None:
        return None
    found = ratio if row.relative else value
    if found is None:
        return "unknown"
    # What is judged is what is printed: two digits of a ratio.
    return "ok" if round(found, 2) <= row.limit else "MISS"


def summarise_row(samples: Sequence[Sample], proxies: Sequence[str], row: Row) -> dict[str, Any]:
    cells = {proxy: found for proxy in proxies if (found := cell(samples, row, proxy))}
    reference = reference_of(cells, row)
    subject = cells.get(SUBJECT)
    value = subject["value"] if subject and subject["valid"] else None
    base = cells[reference]["value"] if reference else None
    ratio = value / base if value is not None and base else None
    return {
        "work": row.work, "metric": row.metric, "title": row.title, "unit": row.unit,
        "limit": row.limit, "relative": row.relative, "against": row.against, "cells": cells,
        "reference": reference, "ratio": ratio, "verdict": verdict(row, value, ratio),
    }  # fmt: skip


def summarise(
    samples: Sequence[Sample], proxies: Sequence[str], works: Sequence[str]
) -> list[dict[str, Any]]:
    """One entry per row of the measured works."""
    return [summarise_row(samples, proxies, row) for row in ROWS if row.work in works]


def misses(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Titles of targets that are missed or cannot be judged, and of works in which lbd made errors."""
    found = []
    for row in rows:
        subject = row["cells"].get(SUBJECT)
        if subject and not subject["valid"]:
            found.append(f"{row['title']}: invalid")
        elif row["verdict"] not in (None, "ok"):
            found.append(f"{row['title']}: {row['verdict']}")
    return found
