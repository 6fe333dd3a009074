"""Observing: what a worker keeps of those who write exchanges down, over reloads.

Compiling asks it for the writers of access logs, and gets those that are there already. Once a Runtime
serves, `settle` ends those that it does not use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from lbd import __version__
from lbd.config import observing, schema
from lbd.engine.accesslog import LogWriter, TextLog
from lbd.engine.listener import Listener
from lbd.engine.recorder import Recorder
from lbd.engine.trace import Tracer
from lbd.observe.log import Log
from lbd.observe.targets import open_log

if TYPE_CHECKING:
    from lbd.observe.exporter import Exporter


class Observing:
    """One for a worker."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.writers: dict[str, LogWriter] = {}
        self.recorder: Recorder | None = None
        self.exporter: Exporter | None = None
        self._recorded: observing.RecorderSetting = "off"
        self._traced: tuple[observing.Tracing | None, str | None, str | None] = (None, None, None)

    def open_log(self, target: str) -> LogWriter:
        """The writer of a target; OSError when it cannot be opened."""
        if target not in self.writers:
            self.writers[target] = open_log(target, self._on_trouble)
        return self.writers[target]

    def prepare(self, config: schema.Config, workers: int = 1) -> None:
        """The recorder: the one there is, unless its settings are others now.

        Before workers are forked, so that what they record can be read by all.
        """
        if config.recorder != self._recorded:
            self._recorded = config.recorder
            self.recorder = _recorder(config.recorder, workers)

    def share(self, setting: observing.RecorderSetting, descriptor: int, worker: int, workers: int) -> None:
        """Write into the recorder that another process has made with this setting; descriptor: of its memory,
        -1 when there is none."""
        if setting == self._recorded:
            if descriptor >= 0:
                os.close(descriptor)
            return
        self._recorded = setting
        self.recorder = _recorder(setting, workers, worker, descriptor)

    def attach(self, config: schema.Config, listeners: Iterable[Listener]) -> None:
        """Let listeners tell recorder and tracer, the ones there are unless their settings are others now.

        In the process that serves. MissingLibrary when tracing needs a package that is not installed.
        """
        self.prepare(config)
        traced = (config.tracing, config.environment, config.region)
        if traced != self._traced:
            fresh = self._exporter(config) if config.tracing is not None else None
            old, self.exporter, self._traced = self.exporter, fresh, traced
            if old is not None:
                old.close(timeout=0)
        tracer = self.exporter.tracer if self.exporter is not None else None
        for listener in listeners:
            listener.observe(self.recorder, tracer)

    def _exporter(self, config: schema.Config) -> Exporter:
        from lbd.observe.exporter import Exporter

        setting = config.tracing
        assert setting is not None
        resource = {"service.name": setting.service, "service.version": __version__}
        resource |= {"deployment.environment.name": config.environment} if config.environment else {}
        resource |= {"cloud.region": config.region} if config.region else {}
        return Exporter(
            setting.endpoint,
            {**resource, **setting.resource},
            headers=setting.headers,
            timeout=setting.timeout,
            compress=setting.compression == "gzip",
            on_trouble=self._on_collector,
            make_tracer=partial(_tracer, setting),
        )

    def _on_collector(self, error: Exception | None) -> None:
        """Called by the exporter's thread."""
        if error is None:
            self.log.info("tracing: spans are exported again")
        else:
            self.log.warning(f"tracing: {error}; spans are dropped and counted")

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
        if self.exporter is not None:
            self.exporter.close()

    def _on_trouble(self, target: str, error: OSError | None) -> None:
        """Called by the writer's thread."""
        if error is None:
            self.log.info(f"access log {target}: lines are written again")
        else:
            self.log.warning(f"access log {target}: {error}; lines are dropped and counted")


def _tracer(setting: observing.Tracing, wake: Callable[[], object]) -> Tracer:
    return Tracer(
        sample=setting.sample,
        parent=setting.parent,
        size=setting.queue,
        id_fields=setting.id_fields,
        wake=wake,
    )


def _recorder(
    setting: observing.RecorderSetting, workers: int, worker: int = 0, descriptor: int = -1
) -> Recorder | None:
    if not isinstance(setting, observing.Recorder):
        return None
    return Recorder(
        size=setting.size,
        errors=setting.errors,
        slow=setting.slow,
        slow_us=round(setting.slow_after * 1e6),
        query=setting.query,
        workers=workers,
        worker=worker,
        fd=descriptor,
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
