"""EndpointStates: what operators set for endpoints at run time, and what follows from it.

A set weight or state is in force when the call returns; `save` puts it into the state file. Endpoints get
what was set for them when they join, at the start and by discovery. Whoever is draining or disabled is
watched until nothing is under way: then the log says so and its pooled connections close.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from lbd.control.certs.offloop import off_loop
from lbd.control.state_file import MOST_ENTRIES, Entries, Entry, Identity, StateFile, StateFileError
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.observe.log import Log

WATCH_SECONDS = 0.05  # at first; a drain may last for hours, so it is looked at less and less often
LONGEST_WATCH_SECONDS = 0.5


class EndpointStates:
    """Without a directory nothing is kept over restarts. close_unused(cluster, endpoint) closes its pooled
    connections."""

    def __init__(
        self, log: Log, directory: Path | None, close_unused: Callable[[str, Endpoint], None] | None = None
    ) -> None:
        self._log = log
        self._close_unused = close_unused or (lambda _, endpoint: endpoint.pool.close_unused())
        self._file = StateFile(directory) if directory is not None else None
        self._entries: Entries = {}
        self._writing = asyncio.Lock()
        self._changes = self._saved_changes = 0
        self._said_unwritable = False
        self._watched: dict[Endpoint, str] = {}  # its cluster
        self._said_empty: set[Endpoint] = set()
        self._watching: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<EndpointStates entries={len(self._entries)} watched={len(self._watched)}>"

    def load(self) -> None:
        """Read the state file; one that cannot be used costs a warning."""
        if self._file is None:
            return
        try:
            self._entries = self._file.read()
        except StateFileError as error:
            self._set_aside(self._file, error)
        except OSError as error:
            self._log.warning(f"state file {self._file.path} cannot be read: {error.strerror}")

    def _set_aside(self, file: StateFile, why: StateFileError) -> None:
        try:
            aside = file.set_aside()
        except OSError as error:
            self._log.warning(f"state file {file.path} is not used: {why}; it stays: {error.strerror}")
        else:
            self._log.warning(f"state file {file.path} is not used: {why}; it is {aside} now")

    def restore(self, cluster: Cluster, endpoint: Endpoint) -> bool:
        """Give an endpoint that joins what was set for it; whether there was anything. The cluster is to be
        refreshed by the caller."""
        entry = self._entries.get((cluster.name, endpoint.name))
        if entry is None:
            return False
        endpoint.set_weight(entry.weight)
        endpoint.set_admin(entry.state)
        return True

    def set_weight(self, cluster: Cluster, endpoint: Endpoint, weight: int | None) -> None:
        """None: as configured."""
        endpoint.set_weight(weight)
        entry = self._entry_of(cluster, endpoint)
        self._set(cluster, endpoint, Entry(weight, entry.state))

    def set_state(self, cluster: Cluster, endpoint: Endpoint, state: str) -> None:
        """`ready`, `draining` or `disabled`."""
        endpoint.set_admin(state)
        entry = self._entry_of(cluster, endpoint)
        self._set(cluster, endpoint, Entry(entry.weight, state))
        self._said_empty.discard(endpoint)
        if state == "ready":
            self._watched.pop(endpoint, None)
            return
        if state == "disabled":
            endpoint.pool.close_unused()
        self._watched[endpoint] = cluster.name
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    def _entry_of(self, cluster: Cluster, endpoint: Endpoint) -> Entry:
        return self._entries.get((cluster.name, endpoint.name), Entry())

    def _set(self, cluster: Cluster, endpoint: Endpoint, entry: Entry) -> None:
        identity: Identity = (cluster.name, endpoint.name)
        self._entries.pop(identity, None)
        if entry != Entry():
            self._entries[identity] = entry  # the youngest
        while len(self._entries) > MOST_ENTRIES:
            del self._entries[next(iter(self._entries))]
        self._changes += 1
        cluster.changed()
        cluster.refresh()  # now, not with the next round: whoever asked is told what is in force

    async def save(self) -> bool:
        """Write what was set until now; whether it will be there after a restart."""
        if self._file is None:
            return False
        wanted = self._changes
        async with self._writing:
            if self._saved_changes >= wanted:  # by another call, meanwhile
                return True
            changes = self._changes
            try:
                await off_loop(self._file.write, dict(self._entries))
            except OSError as error:
                self._say_unwritable(error)
                return False
            self._saved_changes = changes
            self._said_unwritable = False
            return True

    def _say_unwritable(self, error: OSError) -> None:
        if not self._said_unwritable and self._file is not None:
            self._log.warning(
                f"state file {self._file.path} cannot be written: {error.strerror}; "
                "weights and states that are set will not outlive lbd"
            )
        self._said_unwritable = True

    # until they are empty

    async def _watch(self) -> None:
        pause = WATCH_SECONDS
        while self._watched:
            for endpoint, cluster in list(self._watched.items()):
                self._look_at(endpoint, cluster)
            await asyncio.sleep(pause)
            pause = min(pause * 1.1, LONGEST_WATCH_SECONDS)

    def _look_at(self, endpoint: Endpoint, cluster: str) -> None:
        if endpoint.under_way:
            return
        if endpoint not in self._said_empty:
            self._said_empty.add(endpoint)
            self._log.info(f"endpoint {cluster}/{endpoint.name}: {endpoint.admin} and empty")
        self._close_unused(cluster, endpoint)
        if endpoint.quiet or endpoint.removed:
            del self._watched[endpoint]
            self._said_empty.discard(endpoint)

    def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
