"""The state file: what operators set at run time, kept over restarts.

JSON in `state_directory`, replaced as a whole: a reader finds the old file or the new one, never half of one
(temporary file, fsync, rename, fsync of the directory). One that cannot be understood is set aside with a
warning, so that nothing is lost and nothing stops the start.

Entries of endpoints that are unknown now stay, as discovery may find them again; their number is bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
NAME = "state.json"
MOST_ENTRIES = 10_000  # the oldest go first
MOST_BYTES = 16 * 2**20
MOST_WEIGHT = 65535
STATES = ("ready", "draining", "disabled")

Identity = tuple[str, str]  # cluster, endpoint


class StateFileError(Exception):
    """The file is there and says nothing that can be used; str() says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What was set for one endpoint. weight: None = as configured."""

    weight: int | None = None
    state: str = "ready"


Entries = dict[Identity, Entry]  # oldest first


class StateFile:
    """Of one directory. Calls block: they are for the start, and for threads."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME

    def __repr__(self) -> str:
        return f"<StateFile {self.path}>"

    def read(self) -> Entries:
        """The entries; none when there is no file. StateFileError, or OSError when it cannot be read."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return {}
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise StateFileError("it is not a file")
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise StateFileError(f"it is longer than {MOST_BYTES} bytes")
        return parse(content)

    def set_aside(self) -> Path:
        """Rename what cannot be used, in place of what was set aside before; OSError."""
        aside = self.path.with_name(f"{NAME}.broken")
        self.path.replace(aside)
        return aside

    def write(self, entries: Entries) -> None:
        """Replace the file; OSError, and then the old one is still there."""
        directory = self.path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{NAME}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()  # of a process that died
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(render(entries))
                file.flush()
                os.fsync(descriptor)
            temporary.replace(self.path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    """Only then a power cut cannot undo the rename."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def render(entries: Entries) -> bytes:
    """The content of the file."""
    rows = [
        {"cluster": cluster, "endpoint": endpoint, "weight": entry.weight, "state": entry.state}
        for (cluster, endpoint), entry in entries.items()
    ]
    return json.dumps({"version": VERSION, "endpoints": rows}, indent=1).encode() + b"\n"


def parse(content: bytes) -> Entries:
    """The way back; StateFileError."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StateFileError(f"it is not JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("endpoints"), list):
        raise StateFileError("it has no list of endpoints")
    if data.get("version") != VERSION:
        raise StateFileError(f"its version is {data.get('version')!r}, and this lbd knows {VERSION}")
    return dict([_entry(row) for row in data["endpoints"]][-MOST_ENTRIES:])


def _entry(row: Any) -> tuple[Identity, Entry]:
    if not isinstance(row, dict):
        raise StateFileError("an endpoint in it is not an object")
    cluster, endpoint = row.get("cluster"), row.get("endpoint")
    weight, state = row.get("weight"), row.get("state")
    if not isinstance(cluster, str) or not isinstance(endpoint, str):
        raise StateFileError("an endpoint in it has no name")
    if weight is not None and (type(weight) is not int or not 0 <= weight <= MOST_WEIGHT):
        raise StateFileError(f"endpoint {cluster}/{endpoint} in it has no good weight")
    if state not in STATES:
        raise StateFileError(f"endpoint {cluster}/{endpoint} in it has no good state")
    return (cluster, endpoint), Entry(weight, state)
