"""FileSource (`discover: {file: endpoints.yaml}`): a watched file with a list of endpoints.

Strategy: the file is looked at each second, and read when it has looked the same twice in a row: a file that
is being written in place would, cut short, be a good list without its last endpoints. Replacing it by rename
is the same to lbd. Links are followed, so that swapping one (Kubernetes) is a change like any other.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from lbd.config.discovery import Discover
from lbd.config.endpoint_file import MOST_BYTES, load_endpoints
from lbd.config.errors import ConfigErrors
from lbd.config.schema import Endpoint
from lbd.discovery.member import Member, Members
from lbd.discovery.source import Means
from lbd.discovery.watch import Outcome

POLL_SECONDS = 1.0
MOST_ERRORS = 5  # that the log names

# (mtime in ns, size, inode, device), or (errno,)
Signature = tuple[int, ...]


class FileSource:
    """An empty list means no endpoints; what cannot be read changes nothing."""

    def __init__(self, setting: Discover, means: Means) -> None:
        assert setting.file is not None
        self.title = f"file {setting.file}"
        self._path = setting.file
        self._labels = dict(setting.labels)
        self._off_loop = means.off_loop
        self._seen: Signature | None = None  # at the last look
        self._settled: Signature | None = None  # when last read, having been quiet
        self._problem: str | None = None

    async def look(self) -> Outcome[Members]:
        """The first look reads at once, since clients wait; the second makes sure of it."""
        now: Signature = await self._off_loop(_look, self._path)
        before, self._seen = self._seen, now
        if before is not None and (now != before or now == self._settled):
            return Outcome(None, POLL_SECONDS, self._problem)
        if before is not None:
            self._settled = now
        return await self._read()

    async def _read(self) -> Outcome[Members]:
        was = self._problem
        try:
            endpoints: tuple[Endpoint, ...] = await self._off_loop(_read, self._path)
        except ConfigErrors as error:
            lines = [str(one) for one in error.errors]
            more = f"; and {len(lines) - MOST_ERRORS} more" if len(lines) > MOST_ERRORS else ""
            self._problem = "; ".join(lines[:MOST_ERRORS]) + more
        except OSError as error:
            self._problem = f"{self._path}: cannot be read: {error.strerror or error}"
        else:
            self._problem = None
            return Outcome(tuple(self._member(one) for one in endpoints), POLL_SECONDS)
        # The second reading of the same bad file is no second failure.
        return Outcome(
            None, POLL_SECONDS, self._problem, failed=self._problem != was or self._settled is None
        )

    def _member(self, setting: Endpoint) -> Member:
        return Member.of(setting.model_copy(update={"labels": self._labels | setting.labels}))


def _look(path: str) -> Signature:
    try:
        found = Path(path).stat()
    except OSError as error:
        return (error.errno or 0,)
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _read(path: str) -> tuple[Endpoint, ...]:
    """ConfigErrors, OSError."""
    # O_NONBLOCK: opening a FIFO would wait for a writer
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return load_endpoints(file.read(MOST_BYTES + 1), path)
