"""How long the fuzz tests may run: LBD_FUZZ_SECONDS for all of them together, about 20 by default.

The inputs are the same in every run; a longer run adds to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from hypothesis import HealthCheck, Phase, settings

SECONDS = float(os.environ.get("LBD_FUZZ_SECONDS", "20"))
SEED = os.environ.get("LBD_FUZZ_SEED", "lbd")


def examples(count: int) -> Callable[..., object]:
    """Hypothesis settings: `count` examples in a default run, more in a longer one."""
    return settings(
        max_examples=max(20, int(count * SECONDS / 20)),
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def turns(share: float, least: int) -> Iterator[int]:
    """0, 1, 2, ... until this share of the time is used up, and `least` of them at any rate."""
    end = time.monotonic() + share * SECONDS
    turn = 0
    while turn < least or time.monotonic() < end:
        yield turn
        turn += 1
