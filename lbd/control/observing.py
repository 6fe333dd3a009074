"""Observing: what a worker keeps of those who write exchanges down, over reloads.

Compiling asks it for the writers of access logs, and gets those that are there already. Once a Runtime
serves, `settle` ends those that it does not use.
"""

from __future__ import annotations

from collections.abc import Iterable

from lbd.config import observing, schema
from lbd.engine.accesslog import LogWriter, TextLog
from lbd.engine.listener import Listener
from lbd.engine.recorder import Recorder
from lbd.observe.log import Log
from lbd.observe.targets import open_log


class Observing:
    """One for a worker."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.writers: dict[str, LogWriter] = {}
        self.recorder: Recorder | None = None
        self._recorded: observing.RecorderSetting = "off"

    def open_log(self, target: str) -> LogWriter:
        """The writer of a target; OSError when it cannot be opened."""
        if target not in self.writers:
            self.writers[target] = open_log(target, self._on_trouble)
        return self.writers[target]

    def attach(self, config: schema.Config, listeners: Iterable[Listener], workers: int = 1) -> None:
        """Let listeners tell the recorder: the one there is, unless its settings are others now.

        The first call belongs before workers are forked, so that what they record can be read by all.
        """
        if config.recorder != self._recorded:
            self._recorded = config.recorder
            self.recorder = _recorder(config.recorder, workers)
        for listener in listeners:
            listener.observe(self.recorder)

    def settle(self, used: dict[str, LogWriter]) -> None:
        """A Runtime serves that writes to these: the others write what they have, and end."""
        for target in self.writers.keys() - used.keys():
            self.writers.pop(target).close(timeout=0)

    def reopen(self) -> None:
        """After a rotation."""
        for writer in self.writers.values():
            writer.reopen()

    def close(self) -> None:
        """Write what is there."""
        for writer in self.writers.values():
            writer.close()

    def _on_trouble(self, target: str, error: OSError | None) -> None:
        """Called by the writer's thread."""
        if error is None:
            self.log.info(f"access log {target}: lines are written again")
        else:
            self.log.warning(f"access log {target}: {error}; lines are dropped and counted")


def _recorder(setting: observing.RecorderSetting, workers: int) -> Recorder | None:
    if not isinstance(setting, observing.Recorder):
        return None
    return Recorder(
        size=setting.size,
        errors=setting.errors,
        slow=setting.slow,
        slow_us=round(setting.slow_after * 1e6),
        query=setting.query,
        workers=workers,
    )


def text_log(setting: observing.AccessLog, config: schema.Config, writer: LogWriter) -> TextLog:
    """The access log of a listener."""
    return TextLog(
        writer,
        setting.format,
        fields=setting.fields,
        environment=config.environment,
        sample=setting.sample,
        slow_us=round(setting.slow * 1e6),
    )
