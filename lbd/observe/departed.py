"""Departed: listeners, routes and clusters that a reload has taken away, whose numbers are still told.

For a while, so that the last of them are scraped; then they are left out, or whoever renames its routes every
day would have all of them in /metrics for ever. Their records stay in the shared block: an exchange may write
to one for as long as it lasts, and what comes back under its name goes on counting there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from lbd.engine.shared import Shared

KEPT_SECONDS = 600.0

Identity = tuple[str, str]  # kind and name of a record


class Departed:
    """Of one process."""

    def __init__(self) -> None:
        self._since: dict[Identity, float] = {}

    def __repr__(self) -> str:
        return f"<Departed {len(self._since)}>"

    def follow(self, before: set[Identity], now: set[Identity]) -> None:
        """These were there, and these are. What is in both, or in neither, stays as it is."""
        at = time.monotonic()
        for identity in before - now:
            self._since[identity] = at
        for identity in now:
            self._since.pop(identity, None)

    def names(self, shared: Shared, kind: str) -> Iterable[str]:
        """Records of a kind that are told of."""
        if not self._since:
            return shared.names(kind)
        limit = time.monotonic() - KEPT_SECONDS
        return [name for name in shared.names(kind) if self._since.get((kind, name), math.inf) > limit]
