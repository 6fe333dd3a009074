"""The page /status: a few lines of text, for people and for programs that read nginx's stub_status.

The first four lines are in that format, to the letter. lbd does not count clients that are in the middle of a
request head, so Reading is always 0; Writing are exchanges and tunnels under way, Waiting is the rest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from lbd import __version__
from lbd.admin.views import STARTED
from lbd.observe.metrics import Observed


def status_text(worker: Observed) -> str:
    """The whole page."""
    return "\n".join((*_as_nginx(worker), "", *_own(worker), ""))


def _as_nginx(worker: Observed) -> Iterator[str]:
    shared = worker.shared
    listeners = [shared.read("listener", name) for name in shared.names("listener")]
    is_open = sum(record["open"] for record in listeners)
    accepted = sum(record["accepted"] for record in listeners)
    requests = sum(sum(shared.read("route", name)["status"]) for name in shared.names("route"))
    clusters = worker.runtime.clusters.values() if worker.runtime is not None else ()
    under_way = sum(cluster.under_way for cluster in clusters)
    yield f"Active connections: {is_open} "
    yield "server accepts handled requests"
    yield f" {accepted} {accepted} {requests} "
    yield f"Reading: 0 Writing: {under_way} Waiting: {max(0, is_open - under_way)} "


def _own(worker: Observed) -> Iterator[str]:
    state = "draining" if worker.draining else "serving"
    yield f"lbd {__version__}, pid {os.getpid()}, up {time.time() - STARTED:.0f} s, {state}"
    yield f"workers: {worker.shared.workers}"
    shared = worker.shared
    for setting in worker.config.listeners:
        record = shared.read("listener", setting.name)
        refused = sum(record["reasons"])
        yield (
            f"listener {setting.name}: {record['open']} open, {record['accepted']} accepted, "
            f"{refused} errors of lbd"
        )
    for cluster in worker.runtime.clusters.values() if worker.runtime is not None else ():
        usable = sum(endpoint.usable for endpoint in cluster.endpoints)
        yield (
            f"cluster {cluster.name}: {usable} of {len(cluster.endpoints)} endpoints usable, "
            f"{cluster.under_way} under way"
        )
