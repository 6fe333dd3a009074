"""Settings -> what watches a cluster and divides it: guards, limit, `divide`. Part of `compile.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbd.balance.division import Divide, Regions, Zones
from lbd.config import health, schema, sessions
from lbd.engine.guard import ConcurrencyLimit, Guard
from lbd.engine.key import KeySource
from lbd.engine.shared import Shared
from lbd.engine.sticky import Sticky

MOST = 2**32 - 1


def passive_guard(setting: schema.Cluster) -> Guard | None:
    """Passive checks, or None when they are off."""
    check = setting.passive_check
    if not isinstance(check, health.PassiveCheck):
        return None
    from lbd.health.passive import Passive

    latency = check.latency
    return Passive(
        rule=rule(
            check.consecutive,
            check.failure_ratio,
            check.volume,
            check.window,
            open_ms=_ms(check.eject),
            longest_ms=_ms(check.max_eject),
            growth=2.0,
            probes=check.probes,
            needed=check.needed,
        ),
        most=check.max_ejected,
        latency_factor=latency.factor if latency else 0.0,
        latency_ms=latency.above * 1000 if latency else 0.0,
        latency_volume=latency.volume if latency else 0.0,
    )


def breaker(setting: schema.Cluster) -> Guard | None:
    """The circuit breaker, or None."""
    chosen = setting.breaker
    if chosen is None:
        return None
    from lbd.health.breaker import Breaker

    return Breaker(
        rule=rule(
            chosen.consecutive,
            None if chosen.success_rate is None else 1.0 - chosen.success_rate,
            chosen.volume,
            chosen.window,
            open_ms=_ms(chosen.open),
            longest_ms=_ms(chosen.max_open),
            growth=chosen.growth,
            probes=chosen.probes,
            needed=chosen.needed,
        ),
        each_endpoint=chosen.scope == "endpoint",
    )


def rule(
    consecutive: int | None, failure_ratio: float | None, volume: int, window: float, **rest: Any
) -> dict[str, Any]:
    """For circuit.rule_of. A ratio of 0 means: any failure, once there are enough results."""
    return {
        "consecutive": consecutive or 0,
        "ratio": 0 if failure_ratio is None else max(1, round(failure_ratio * 10000)),
        "volume": volume,
        "window_ms": _ms(window),
        **rest,
    }


def adaptive_limit(setting: schema.Cluster) -> ConcurrencyLimit | None:
    """The limit that finds itself, or None."""
    chosen = setting.adaptive_limit
    if chosen is None:
        return None
    from lbd.limit.gradient import Gradient

    return Gradient(
        initial=chosen.initial,
        least=chosen.min,
        most=chosen.max,
        tolerance=chosen.tolerance,
        round_ms=_ms(chosen.interval),
    )


def sticky(setting: schema.Cluster, shared: Shared) -> Sticky | None:
    """Sessions of a cluster, or None."""
    chosen = setting.sticky
    if chosen is None:
        return None
    if chosen.cookie is not None:
        cookie = chosen.cookie
        return Sticky(
            KeySource("cookie", cookie.name),
            cluster=setting.name,
            by_cookie=True,
            secret=cookie.secret.get_secret_value().encode() if cookie.secret else shared.secret,
            attributes=_cookie_attributes(cookie),
        )
    assert chosen.key is not None
    return Sticky(
        KeySource(chosen.key.kind, chosen.key.name),
        cluster=setting.name,
        shared=shared,
        sessions=1 << (chosen.sessions - 1).bit_length(),
        idle_s=max(1, round(chosen.idle)),
    )


def _cookie_attributes(cookie: sessions.StickyCookie) -> str:
    """What stands behind the value (RFC 6265, 4.1); `Secure` comes with connections over TLS."""
    found = f"; Path={cookie.path}; HttpOnly; SameSite={cookie.same_site.capitalize()}"
    found += f"; Domain={cookie.domain}" if cookie.domain else ""
    return found + (f"; Max-Age={round(cookie.max_age)}" if cookie.max_age else "")


def divider(setting: schema.Cluster, config: schema.Config) -> Callable[[], Divide] | None:
    """Makes the `divide` of each selection of the cluster; None when all endpoints simply serve."""
    tiers = any(endpoint.priority for endpoint in setting.endpoints)
    plain = setting.slow_start is None and setting.panic_threshold is None
    found = setting.discover is not None  # its endpoints may have tiers
    if plain and not (tiers or found) and setting.zones is None and setting.regions is None:
        return None
    return lambda: Divide(
        slow_start=setting.slow_start or 0.0,
        panic=setting.panic_threshold or 0.0,
        overprovision=setting.overprovision,
        zones=_zones(setting, config),
        regions=_regions(setting, config),
    )


def _zones(setting: schema.Cluster, config: schema.Config) -> Zones | None:
    chosen = setting.zones
    if chosen is None:
        return None
    return Zones(
        local=config.zone or "",
        prefer_local=chosen.prefer_local,
        shares=dict(chosen.shares),
        penalty=chosen.penalty,
        max_cross=chosen.max_cross,
    )


def _regions(setting: schema.Cluster, config: schema.Config) -> Regions | None:
    chosen = setting.regions
    if chosen is None:
        return None
    return Regions(
        order=chosen.order,
        own=config.region or "",
        nearest=chosen.fallback == "nearest",
        max_rtt=chosen.max_rtt,
        min_healthy=chosen.min_healthy,
        max_response=chosen.max_response,
        max_errors=chosen.max_errors,
        volume=chosen.volume,
        hold=chosen.hold,
    )


def _ms(seconds: float) -> int:
    return max(1, min(MOST, round(seconds * 1000)))
