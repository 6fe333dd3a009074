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
from lbd.observe.present import Present
from lbd.observe.records import Records


def status_lines(worker: Observed) -> Iterator[str]:
    """The whole page, in pieces; between two of them anything may happen."""
    present = Present(worker)
    yield from _as_nginx(worker, present)
    yield "\n"
    yield from _own(worker, present)


def _as_nginx(worker: Observed, present: Present) -> Iterator[str]:
    requests = under_way = 0
    for _, (counts,) in Records(worker.shared, "route", "name").read("status"):
        requests += sum(counts)
        yield ""
    for cluster in present.clusters():
        under_way += cluster.under_way
        yield ""
    listeners = [found for _, found in Records(worker.shared, "listener", "name").read("accepted", "open")]
    accepted = sum(count for count, _ in listeners)
    is_open = sum(count for _, count in listeners)
    yield f"Active connections: {is_open} \n"
    yield "server accepts handled requests\n"
    yield f" {accepted} {accepted} {requests} \n"
    yield f"Reading: 0 Writing: {under_way} Waiting: {max(0, is_open - under_way)} \n"


def _own(worker: Observed, present: Present) -> Iterator[str]:
    state = "draining" if worker.draining else "serving"
    yield f"lbd {__version__}, pid {os.getpid()}, up {time.time() - STARTED:.0f} s, {state}\n"
    yield f"workers: {worker.shared.workers}\n"
    shared = worker.shared
    for setting in worker.config.listeners:
        record = shared.read("listener", setting.name)
        refused = sum(record["reasons"])
        yield (
            f"listener {setting.name}: {record['open']} open, {record['accepted']} accepted, "
            f"{refused} errors of lbd\n"
        )
    for cluster in present.clusters():
        usable = sum(endpoint.usable for endpoint in cluster.endpoints)
        yield (
            f"cluster {cluster.name}: {usable} of {len(cluster.endpoints)} endpoints usable, "
            f"{cluster.under_way} under way\n"
        )
