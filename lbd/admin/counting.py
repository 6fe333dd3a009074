"""Counters as the admin API shows them: since the start, or since somebody has reset them.

The counters themselves never go back: the workers write them, and Prometheus takes them to grow. A reset
remembers where they stood, and from then on that is taken away from what is shown. Gauges, states and what
counts less and less with time are shown as they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol

from lbd.admin.slices import in_slices
from lbd.engine.shared import Shared

CIRCUIT = (False, True)  # state, times opened
COUNTERS: dict[str, dict[str, Any]] = {  # kind of record -> its counters: all of a list, or some of it
    "route": dict.fromkeys(("status", "grpc", "bytes_received", "bytes_sent", "duration"), True),
    "listener": dict.fromkeys(
        (
            "accepted",
            "accept_errors",
            "accept_pauses",
            "bytes_received",
            "bytes_sent",
            "handshakes",
            "resumed",
            "http2",
            "reasons",
        ),
        True,
    ),
    "endpoint": dict.fromkeys(
        (
            "requests",
            "status_class",
            "connects",
            "connect_failures",
            "reused",
            "stale",
            "failures",
            "first_byte",
        ),
        True,
    ),
    "cluster": dict.fromkeys(
        (
            "retries",
            "retries_denied",
            "hedges",
            "hedges_won",
            "shed",
            "broken",
            "fallbacks",
            "panic_picks",
            "ejections_denied",
            "cross_zone",
            "sticky_kept",
            "sticky_lost",
        ),
        True,
    ),
    "cluster_state": {"breaker": CIRCUIT, "panics": True},
    "endpoint_state": {"ejection": CIRCUIT, "breaker": CIRCUIT, "checks_ok": True, "checks_failed": True},
}


class Records(Protocol):
    """Where records are read: the shared block, or Counting."""

    def names(self, kind: str) -> list[str]: ...
    def read(self, kind: str, name: str) -> dict[str, Any]: ...


class _BegunAnew(Exception):
    """The counters of a record are lower than they were: it is that of something new with the name."""


class Counting:
    """Reads as the shared block does."""

    def __init__(self, shared: Shared, started: float) -> None:
        self.since = started  # Unix time
        self._shared = shared
        self._base: dict[tuple[str, str], dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"<Counting since={self.since:.0f} records={len(self._base)}>"

    def names(self, kind: str) -> list[str]:
        """As Shared.names."""
        return self._shared.names(kind)

    def read(self, kind: str, name: str) -> dict[str, Any]:
        """As Shared.read, with counters since the reset."""
        record = self._shared.read(kind, name)
        base = self._base.get((kind, name))
        if base is None:
            return record
        try:
            counts = COUNTERS[kind]
            return record | {key: _less(record[key], before, counts[key]) for key, before in base.items()}
        except _BegunAnew:
            del self._base[kind, name]
            return record

    async def reset(self) -> None:
        """From now on."""
        base: dict[tuple[str, str], dict[str, Any]] = {}
        await in_slices(self._note(base))
        self._base, self.since = base, time.time()

    def _note(self, base: dict[tuple[str, str], dict[str, Any]]) -> Iterator[None]:
        """Where counters stand; what never counted anything needs no note."""
        for kind, counters in COUNTERS.items():
            for name in self._shared.names(kind):
                yield
                try:
                    record = self._shared.read(kind, name)
                except KeyError:  # a reload has taken it away meanwhile
                    continue
                found = {key: record[key] for key in counters if _is_any(record[key])}
                if found:
                    base[kind, name] = found


def _is_any(value: Any) -> bool:
    return any(map(_is_any, value)) if isinstance(value, list) else bool(value)


def _less(now: Any, before: Any, counts: Any) -> Any:
    if isinstance(now, list):
        parts = counts if isinstance(counts, tuple) else (counts,) * len(now)
        return [_less(a, b, part) for a, b, part in zip(now, before, parts, strict=True)]
    if not counts:
        return now
    if now < before:
        raise _BegunAnew
    return now - before
