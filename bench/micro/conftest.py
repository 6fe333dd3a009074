"""`nanoseconds`: time a call that does many operations, and note what one costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Timed = Callable[..., float]


@pytest.fixture
def nanoseconds(benchmark: Any) -> Timed:
    """nanoseconds(times, call, *arguments, **notes): the call does `times` operations. What one took."""

    def run(times: int, call: Callable[..., object], *arguments: object, **notes: object) -> float:
        call(*arguments)
        benchmark.pedantic(call, arguments, rounds=15, iterations=1, warmup_rounds=2)
        benchmark.extra_info.update(notes, operations=times)
        if not benchmark.stats:  # disabled
            return 0.0
        took: float = benchmark.stats.stats.min / times * 1e9
        benchmark.extra_info["ns_per_operation"] = round(took, 1)
        return took

    return run
