"""Which endpoints of a cluster serve, in which parts and with which weight.

A selection of a cluster is divided whenever the state of an endpoint has changed, or when the last division
asked for it; requests only pick from what came out. In this order:

1. weights: as configured or set at run time, less during a slow start;
2. the region in use, when there are regions (`RegionChoice` below);
3. panic: too few are usable, so health is ignored;
4. tiers by priority: the first takes what its health allows, the next the rest (Envoy's priority levels);
5. zones within a tier: by capacity, with the local zone preferred, others penalised and capped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lbd.engine.endpoint import Endpoint
from lbd.engine.selection import Division

PARTS_MAX = 16
FINE = 100  # weights are multiplied by it while an endpoint starts slowly, so that 1 can be divided
SLOW_STEPS = 20  # of a slow start
SLOWEST = 0.1  # share of its weight with which an endpoint begins
REGION_LOOK_MS = 1000

Parts = list[tuple[str, float, list[Endpoint]]]


@dataclass(slots=True)
class Zones:
    """Zones of a tier. Shares and ratios are fractions; `local` is lbd's own zone, empty when not known."""

    local: str = ""
    prefer_local: bool = False
    shares: dict[str, float] = field(default_factory=dict)
    penalty: float = 1.0
    max_cross: float = 1.0


@dataclass(slots=True)
class Regions:
    """When a region is left and which is next. Times in seconds, ratios as fractions; None: no condition.

    Without an `order` all regions that endpoints have: `own` first, then as they appear."""

    order: tuple[str, ...] = ()
    own: str = ""
    nearest: bool = True
    max_rtt: float | None = None
    min_healthy: float = 0.0
    max_response: float | None = None
    max_errors: float | None = None
    volume: int = 20
    hold: float = 30.0


class RegionChoice:
    """Which region is in use: one is left as soon as it fails a condition, and may be used again when it has
    failed none for `hold` seconds. While it serves nobody, its past answers count less and less."""

    def __init__(self, setting: Regions) -> None:
        self.setting = setting
        self.bad_until: dict[str, int] = {}

    def choose(self, endpoints: Sequence[Endpoint], now: int) -> str | None:
        """The region that serves, None when none has a usable endpoint. `now` in milliseconds."""
        order = self._order(endpoints)
        members = {name: [e for e in endpoints if e.region == name] for name in order}
        alive = [name for name in order if any(e.usable and e.weight for e in members[name])]
        for name in order:
            if not self.is_good(members[name], now):
                self.bad_until[name] = now + round(self.setting.hold * 1000)
        good = [
            name for name in alive if self.bad_until.get(name, 0) <= now and self.is_near(members[name])
        ]
        names = good or alive
        if not names or names[0] == order[0] or not self.setting.nearest:
            return names[0] if names else None
        return min(names, key=lambda name: (rtt_of(members[name]) or float("inf"), names.index(name)))

    def _order(self, endpoints: Sequence[Endpoint]) -> Sequence[str]:
        """Discovery may bring regions that nobody has configured."""
        if self.setting.order:
            return self.setting.order
        named = [self.setting.own, *(endpoint.region for endpoint in endpoints)]
        return tuple(dict.fromkeys(name for name in named if name))

    def is_good(self, members: Sequence[Endpoint], now: int) -> bool:
        """Does the region hold the conditions on its health and on what it has answered of late?"""
        setting = self.setting
        if healthy_share(members) < setting.min_healthy:
            return False
        figures = [endpoint.recent_requests(now) for endpoint in members]
        requests = sum(count for count, _, _ in figures)
        if requests < setting.volume:
            return True
        errors = sum(count * share for count, share, _ in figures) / requests
        response = sum(count * seconds for count, _, seconds in figures) / requests
        return not (
            (setting.max_errors is not None and errors > setting.max_errors)
            or (setting.max_response is not None and response > setting.max_response)
        )

    def is_near(self, members: Sequence[Endpoint]) -> bool:
        rtt = rtt_of(members)
        return self.setting.max_rtt is None or rtt is None or rtt <= self.setting.max_rtt


class Divide:
    """The `divide` of a selection. panic: share of usable endpoints below which health is ignored (0: never);
    slow_start in seconds (0: none)."""

    def __init__(
        self,
        *,
        slow_start: float = 0.0,
        panic: float = 0.0,
        overprovision: float = 1.4,
        zones: Zones | None = None,
        regions: Regions | None = None,
    ) -> None:
        self.slow_start_ms = round(slow_start * 1000)
        self.panic = panic
        self.overprovision = overprovision
        self.zones = zones
        self.regions = RegionChoice(regions) if regions is not None else None

    def __call__(self, endpoints: Sequence[Endpoint], now: int) -> Division:
        due = self._weigh(endpoints, now)
        region = None
        if self.regions is not None:
            region = self.regions.choose(endpoints, now)
            due = min(due or now + REGION_LOOK_MS, now + REGION_LOOK_MS)
            if region is not None:
                endpoints = [endpoint for endpoint in endpoints if endpoint.region == region]
        wanted = [endpoint for endpoint in endpoints if endpoint.weight]
        serving = [endpoint for endpoint in wanted if endpoint.usable]
        if wanted and len(serving) < self.panic * len(wanted):
            ready = [e for e in wanted if e.resolved and e.admin == "ready"]
            return Division([("panic", 1.0, ready)] if ready else [], True, due, region or "")
        return Division(bounded(self._parts(wanted)), False, due, region or "")

    def _weigh(self, endpoints: Sequence[Endpoint], now: int) -> int:
        """Set the weights; when (ms) they have to be set again, 0 = not by themselves."""
        slow = [e for e in endpoints if e.up_since and 0 <= now - e.up_since < self.slow_start_ms]
        for endpoint in endpoints:
            endpoint.weight = endpoint.wanted_weight * (FINE if slow else 1)
        for endpoint in slow:
            share = max(SLOWEST, (now - endpoint.up_since) / self.slow_start_ms)
            endpoint.weight = max(1, round(endpoint.weight * share)) if endpoint.weight else 0
        return now + max(1, self.slow_start_ms // SLOW_STEPS) if slow else 0

    def _parts(self, endpoints: Sequence[Endpoint]) -> Parts:
        tiers = sorted({endpoint.priority for endpoint in endpoints})
        members = {tier: [e for e in endpoints if e.priority == tier] for tier in tiers}
        parts: Parts = []
        for tier, share in spill_over(
            [(tier, healthy_share(members[tier])) for tier in tiers], self.overprovision
        ):
            name = f"tier {tier}" if len(tiers) > 1 else "all"
            if self.zones is None:
                parts.append((name, share, [e for e in members[tier] if e.usable]))
            else:
                parts += split_zones(self.zones, members[tier], name, share, self.overprovision)
        return parts


def healthy_share(endpoints: Iterable[Endpoint]) -> float:
    """Fraction of the wanted weight that is usable."""
    total = usable = 0
    for endpoint in endpoints:
        weight = endpoint.wanted_weight
        total += weight
        usable += weight if endpoint.usable else 0
    return usable / total if total else 0.0


def rtt_of(endpoints: Iterable[Endpoint]) -> float | None:
    """Seconds to the nearest usable endpoint, None when not measured."""
    return min((e.rtt for e in endpoints if e.usable and e.rtt is not None), default=None)


def spill_over(tiers: Sequence[tuple[int, float]], overprovision: float) -> list[tuple[int, float]]:
    """[(tier, healthy share)] in order -> [(tier, share of the requests)] of those that get any.

    A tier takes all while its health times `overprovision` is at least 1; when all tiers together are below
    that, what there is is scaled up to 1."""
    left = 1.0
    found = []
    for tier, health in tiers:
        share = min(left, health * overprovision)
        left -= share
        if share > 0:
            found.append((tier, share))
    total = sum(share for _, share in found)
    return [(tier, share / total) for tier, share in found]


def split_zones(
    setting: Zones, endpoints: Sequence[Endpoint], name: str, share: float, overprovision: float
) -> Parts:
    """One tier by zones: [(name, share, usable endpoints)], shares summing up to `share`."""
    members: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        members.setdefault(endpoint.zone, []).append(endpoint)
    health = {zone: healthy_share(those) for zone, those in members.items()}
    # without configured shares a zone's capacity is its weight
    capacity = {
        zone: setting.shares.get(zone, 0.0) if setting.shares else float(sum(e.wanted_weight for e in those))
        for zone, those in members.items()
    }
    wanted = {
        zone: capacity[zone] * health[zone] / (1.0 if zone == setting.local else setting.penalty)
        for zone in members
    }
    if not sum(wanted.values()):  # none of those with a share is left: the others have to do
        wanted = {zone: health[zone] for zone in members}
    total = sum(wanted.values())
    parts = {zone: part / total for zone, part in wanted.items() if part > 0}
    local = parts.get(setting.local, 0.0)
    if local:
        if setting.prefer_local:
            local = max(local, min(1.0, health[setting.local] * overprovision))
        local = max(local, 1.0 - setting.max_cross)
        parts = with_share(parts, setting.local, local)
    return [
        (f"{name} zone {zone}" if zone else name, share * part, [e for e in members[zone] if e.usable])
        for zone, part in parts.items()
        if part > 0
    ]


def with_share(parts: dict[str, float], one: str, share: float) -> dict[str, float]:
    """The same parts with this share of one of them, the others keeping their proportions."""
    others = sum(part for name, part in parts.items() if name != one)
    if not others:
        return {one: 1.0}
    return {name: share if name == one else part / others * (1.0 - share) for name, part in parts.items()}


def bounded(parts: Parts) -> Parts:
    """No more parts than a Selection takes: the smallest ones are put together."""
    if len(parts) <= PARTS_MAX:
        return parts
    parts = sorted(parts, key=lambda part: -part[1])
    rest = parts[PARTS_MAX - 1 :]
    together = [endpoint for _, _, those in rest for endpoint in those]
    return [*parts[: PARTS_MAX - 1], ("rest", sum(share for _, share, _ in rest), together)]
