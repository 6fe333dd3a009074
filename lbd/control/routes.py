"""Route settings -> what the engine's Router is built from: ranks, host and path entries, matchers.

The order of choice among routes that match one request is decided here, once, as a rank (0 first):
priority, then host (exact, longer wildcard, shorter wildcard, any), then path (more literal segments, then
no `/*` at the end, then more template segments), then more conditions, then order in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from lbd.config import schema
from lbd.config.units import SizeComparison
from lbd.engine import matchers
from lbd.engine.router import Matcher

HUGE = 2**62

Segment = bytes | tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class PathEntry:
    """One path pattern taken apart: segments, and whether everything below matches too."""

    segments: tuple[Segment, ...]
    below: bool

    @property
    def captures(self) -> tuple[str, ...]:
        return tuple(s[0] for s in self.segments if isinstance(s, tuple))

    def specificity(self) -> tuple[int, int, int]:
        """Literal segments, whether the path ends there, captures."""
        literals = sum(isinstance(s, bytes) for s in self.segments)
        return (literals, not self.below, len(self.segments) - literals)


@dataclass(frozen=True, slots=True)
class Entry:
    """One way to reach a route: one of its hosts with one of its paths."""

    index: int
    host: bytes | None
    path: PathEntry
    setting: schema.Route
    conditions: tuple[Matcher, ...]

    def order(self) -> tuple[Any, ...]:
        """Sorts entries by choice, best first."""
        host = (0, 0) if self.host is None else (1, len(self.host)) if self.host.startswith(b"*.") else (2, 0)
        literals, exact, templates = self.path.specificity()
        return (
            -self.setting.priority,
            (-host[0], -host[1]),
            (-literals, -exact, -templates),
            -len(self.conditions),
            self.index,
        )


def parse_path(pattern: str) -> PathEntry:
    """`/v1/*` -> ((b"v1",), below); `/m/:model:run` -> (b"m", ("model", b":run"))."""
    parts = pattern[1:].split("/")
    below = parts[-1] == "*"
    if below:
        parts.pop()
    return PathEntry(tuple(_segment(part) for part in parts), below)


def _segment(part: str) -> Segment:
    if not part.startswith(":"):
        return part.encode()
    name, colon, suffix = part[1:].partition(":")
    return name, (colon + suffix).encode()


EVERY_PATH = PathEntry((), True)


def entries_of(index: int, setting: schema.Route) -> Iterator[Entry]:
    """Every pair of a route's hosts and paths."""
    conditions = tuple(conditions_of(setting.match))
    hosts: list[bytes | None] = [host.encode() for host in setting.match.host]
    paths = [parse_path(path) for path in setting.match.path] or [EVERY_PATH]
    for host, path in product(hosts or [None], paths):
        yield Entry(index, host, path, setting, conditions)


def conditions_of(match: schema.Match) -> list[Matcher]:
    """The conditions that host and path tables do not decide, cheapest first."""
    found: list[Matcher] = []
    if match.method:
        found.append(matchers.MethodIn(match.method))
    if match.body_size is not None:
        found.append(matchers.BodySize(*_bounds(match.body_size)))
    if match.source:
        found.append(matchers.Source([str(network) for network in match.source]))
    for kind, conditions in (
        (matchers.Header, match.header),
        (matchers.Query, match.query),
        (matchers.Cookie, match.cookie),
    ):
        found.extend(kind(name, values) for name, values in conditions.items())
    if match.client_certificate is not None:
        wanted = match.client_certificate
        found.append(matchers.ClientCertificate(wanted.subject, wanted.san, wanted.fingerprint))
    return found


def _bounds(condition: SizeComparison) -> tuple[int, int]:
    """Inclusive bounds in bytes."""
    size = condition.size
    return {
        ">": (size + 1, HUGE),
        ">=": (size, HUGE),
        "<": (0, size - 1),
        "<=": (0, size),
    }[condition.operator]
