"""What lbd's processes say of themselves: the one that answers, and its workers when it has some."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any, NamedTuple

from lbd.engine.reactor import Reactor
from lbd.engine.shared import Shared

PAGE = os.sysconf("SC_PAGE_SIZE")


class ProcessFigures(NamedTuple):
    """cpu: seconds of user and system time; lag: seconds that the loop was late; faults: internal errors;
    memory: resident bytes, shared pages counted for each process."""

    cpu: float
    lag: float
    faults: int
    memory: int


def own_cpu() -> float:
    """Seconds of user and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def beats_of(shared: Shared) -> list[dict[str, Any]]:
    """What workers of their own have said of themselves; none when this process serves by itself."""
    return shared.beats() if shared.workers > 1 else []


def process_figures(reactor: Reactor, beats: list[dict[str, Any]]) -> ProcessFigures:
    """Of all processes together; of the lag the worst."""
    return ProcessFigures(
        own_cpu() + sum(beat["cpu"] for beat in beats),
        max([reactor.lag, *(beat["lag"] for beat in beats)]),
        reactor.faults + sum(beat["faults"] for beat in beats),
        sum(resident_bytes(pid) or 0 for pid in {os.getpid(), *(beat["pid"] for beat in beats)}),
    )


def resident_bytes(pid: int) -> int | None:
    """Memory of a process; None when it is not there any more."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return None
