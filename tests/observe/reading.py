"""Reading what a running lbd writes down: JSON lines, by what a test put into the request."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from harness.lbd import Lbd
from harness.waiting import eventually

Line = dict[str, Any]


def lines_with(lbd: Lbd, mark: str, least: int = 1) -> list[Line]:
    """The JSON lines on stdout that mention the mark, once there are so many."""

    def found() -> list[str]:
        lines = [line for line in list(lbd.output) if mark in line]
        return lines if len(lines) >= least else []

    return [json.loads(line) for line in eventually(found, f"{least} lines with {mark}")]


def line_with(lbd: Lbd, mark: str) -> Line:
    (line,) = lines_with(lbd, mark)
    return line


def keys(lines: Iterable[Line]) -> set[str]:
    return {key for line in lines for key in line}
