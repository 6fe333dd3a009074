"""The audit log: who has changed what, over the admin API or by a signal, and what became of it.

    {"time": "2026-01-31T12:00:00.000Z", "who": "uid 0 (pid 812)",
     "via": "PATCH /api/clusters/api/endpoints/one", "action": "set endpoint", "subject": "api/one",
     "changes": {"weight": {"old": 1, "new": 5}}, "outcome": "ok", "saved": true}

The last entries are kept in memory. With `admin.audit_log` each is also a line of JSON there, written by a
thread as lines of access logs are: a full disk, or a reader that is stuck, makes nobody wait, but costs
lines, of which lbd's log tells.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from lbd.config.observing import AccessLog
from lbd.engine.accesslog import LogWriter
from lbd.observe.log import Log
from lbd.observe.targets import open_log, target_of

KEPT = 200
LONGEST = 1000  # characters of a text in an entry


class Audit:
    """One for an lbd. log: knows what must be masked, and is told when lines get lost."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._target: str | None = None
        self._writer: LogWriter | None = None

    def __repr__(self) -> str:
        return f"<Audit {self._target} kept={len(self._kept)}>"

    def prepare(self, setting: str | None) -> LogWriter | None:
        """A writer for another target than the present one. OSError when it cannot be opened."""
        target = _target(setting)
        if target is None or target == self._target:
            return None
        return open_log(target, self._on_trouble, "audit")

    def adopt(self, setting: str | None, made: LogWriter | None) -> None:
        """Write there from now on; `made` is what prepare gave for it."""
        target = _target(setting)
        if target == self._target:
            return
        before, self._writer, self._target = self._writer, made, target
        if before is not None:
            before.close(timeout=0)

    def note(
        self,
        action: str,
        *,
        via: str,
        who: str | None = None,
        subject: str | None = None,
        changes: Mapping[str, tuple[object, object]] | None = None,
        outcome: str = "ok",
        details: Mapping[str, object] | None = None,
    ) -> None:
        """A change, or the attempt. who: None when it cannot be known, as with signals; via: the request or
        signal; changes: name -> old and new; outcome: `ok`, `refused` or `failed`; details: what else there
        is to say. What is None or empty is left out."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        entry = {
            "time": stamp,
            "who": who,
            "via": via,
            "action": action,
            "subject": subject,
            "changes": {name: {"old": old, "new": new} for name, (old, new) in (changes or {}).items()},
            "outcome": outcome,
            **(details or {}),
        }
        shown = {key: self._shown(value) for key, value in entry.items() if value not in (None, {}, [])}
        self._kept.append(shown)
        if self._writer is not None:
            self._writer.put(json.dumps(shown).encode())

    def _shown(self, value: Any) -> Any:
        """Without secrets and excessive lengths, however deep they stand."""
        if isinstance(value, str):
            return self._log.masked(value)[:LONGEST]
        if isinstance(value, Mapping):
            return {key: self._shown(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self._shown(item) for item in value]
        return value

    def entries(self) -> list[dict[str, Any]]:
        """The last ones, the oldest first."""
        return list(self._kept)

    def reopen(self) -> None:
        """After a rotation."""
        if self._writer is not None:
            self._writer.reopen()

    def close(self) -> None:
        """Write what is there."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _on_trouble(self, target: str, error: OSError | None) -> None:
        """Called by the writer's thread."""
        if error is None:
            self._log.info(f"audit log {target}: lines are written again")
        else:
            self._log.error(f"audit log {target}: {error}; lines are lost")


def _target(setting: str | None) -> str | None:
    return None if setting is None else target_of(AccessLog(to=setting, tag="lbd"))
