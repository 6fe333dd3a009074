"""The page /health: how lbd is, part by part, for monitors. JSON.

    {"status": "degraded", "version": "1.0", "uptime": 93784.0, "parts": {"clusters":
        {"status": "degraded", "count": 12, "problems": ["api: 1 of 3 endpoints usable"]}, ...}}

A part is `failed` when requests fail because of it, `degraded` when somebody should look. What operators took
out of service themselves is no failure.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from lbd import __version__
from lbd.admin.views import STARTED
from lbd.engine.cluster import Cluster
from lbd.observe.metrics import Observed

OK, DEGRADED, FAILED = "ok", "degraded", "failed"
WORSE = (OK, DEGRADED, FAILED)
MOST_PROBLEMS = 100  # of a part
CERTIFICATE_SECONDS = 7 * 86400.0  # what ends sooner should have been replaced by now


class Problem(NamedTuple):
    """What is wrong with one thing of a part."""

    status: str
    text: str


def view_health(worker: Observed) -> dict[str, Any]:
    """All parts. While lbd drains its status is `draining`."""
    clusters = worker.runtime.clusters if worker.runtime is not None else {}
    parts = {
        "listeners": _part(len(worker.config.listeners), _of_listeners(worker)),
        "clusters": _part(len(clusters), _of_clusters(clusters.values())),
        "certificates": _part(_count_certificates(worker), _of_certificates(worker)),
        "reloads": _part(sum(worker.reloader.counts.values()) if worker.reloader else 0, _of_reloads(worker)),
    }
    worst = max((part["status"] for part in parts.values()), key=WORSE.index)
    return {
        "status": "draining" if worker.draining else worst,
        "version": __version__,
        "uptime": round(time.time() - STARTED, 3),
        "parts": parts,
    }


def is_good(view: dict[str, Any]) -> bool:
    """Whether requests that come in can be served."""
    return view["status"] in (OK, DEGRADED)


def _part(count: int, problems: Iterable[Problem]) -> dict[str, Any]:
    found = list(problems)
    status = max((problem.status for problem in found), key=WORSE.index, default=OK)
    worst_first = sorted(found, key=lambda problem: -WORSE.index(problem.status))
    said = [problem.text for problem in worst_first[:MOST_PROBLEMS]]
    if len(found) > MOST_PROBLEMS:
        said.append(f"and {len(found) - MOST_PROBLEMS} more")
    return {"status": status, "count": count, "problems": said}


def _of_listeners(worker: Observed) -> Iterator[Problem]:
    """One that is full accepts nobody until a client has gone."""
    for setting in worker.config.listeners:
        is_open = worker.shared.read("listener", setting.name)["open"]
        if is_open >= setting.limits.connections:
            yield Problem(DEGRADED, f"{setting.name}: full, with {is_open} connections")


def _of_clusters(clusters: Iterable[Cluster]) -> Iterator[Problem]:
    for cluster in clusters:
        count, usable = len(cluster.endpoints), sum(one.usable for one in cluster.endpoints)
        wanted = sum(one.admin == "ready" for one in cluster.endpoints)
        said = f"{cluster.name}: {usable} of {count} endpoints usable"
        if usable == 0:
            yield Problem(DEGRADED if count and not wanted else FAILED, said)
        elif usable < wanted:
            yield Problem(DEGRADED, said)


def _count_certificates(worker: Observed) -> int:
    return sum(1 for _ in worker.keeper.certificates()) if worker.keeper is not None else 0


def _of_certificates(worker: Observed) -> Iterator[Problem]:
    now = time.time()
    for record in worker.keeper.certificates() if worker.keeper is not None else ():
        name = f"{record.listener}: {', '.join(record.hosts)}"
        if record.not_after is None:
            yield Problem(FAILED, f"{name}: none yet")
        elif record.not_after <= now:
            yield Problem(FAILED, f"{name}: has ended")
        elif record.error is not None:
            yield Problem(DEGRADED, f"{name}: {record.error}")
        elif record.not_after - now < CERTIFICATE_SECONDS:
            yield Problem(DEGRADED, f"{name}: ends in {(record.not_after - now) / 86400:.1f} days")


def _of_reloads(worker: Observed) -> Iterator[Problem]:
    if worker.reloader is not None and not worker.reloader.last_ok:
        yield Problem(DEGRADED, "the last reload was refused; the configuration before it is in force")
