"""The open connections of clients: those of this process, or of all workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lbd.engine.guests import describe_guests
from lbd.engine.listener import Listener

if TYPE_CHECKING:
    from lbd.control.worker import Worker

Found = tuple[list[dict[str, Any]], bool]  # and whether those are all


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which connections; None: any. client: an address or a network."""

    limit: int
    listener: str | None = None
    client: str | None = None
    kind: str | None = None

    def of(self, listeners: Iterable[Listener]) -> Found:
        """Those of one process."""
        named = [one for one in listeners if self.listener in (None, one.name)]
        return describe_guests(named, self.limit, kind=self.kind, client=self.client)


async def connections_of(worker: Worker, wanted: Wanted) -> dict[str, Any]:
    """As the model Connections of admin/connections.py."""
    if worker.fleet is None:
        listeners = worker.runtime.listeners.values() if worker.runtime is not None else ()
        answers: dict[int, Found | None] = {0: wanted.of([*listeners, *worker.leaving.listeners])}
    else:
        answers = await worker.fleet.ask("connections", wanted)
    rows: list[dict[str, Any]] = []
    complete = True
    for index, answer in sorted(answers.items()):
        found, all_of_them = answer if answer is not None else ([], False)
        complete = complete and all_of_them
        rows += [{"worker": index, **row} for row in found]
    rows.sort(key=lambda row: float(row["age"]))
    return {
        "connections": rows[: wanted.limit],
        "complete": complete and len(rows) <= wanted.limit,
        "open": _open(worker, wanted.listener),
        "silent_workers": [index for index, answer in sorted(answers.items()) if answer is None],
    }


def _open(worker: Worker, listener: str | None) -> int:
    """How many there are in all, as the listeners of the configuration count them."""
    names = [one.name for one in worker.config.listeners if listener in (None, one.name)]
    return sum(worker.shared.read("listener", name)["open"] for name in names)
