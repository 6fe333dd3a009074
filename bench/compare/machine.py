"""The machine: which core does what, free ports, and the facts that a result file must carry.

Strategy: the proxy under test gets one core for itself, so that its CPU time is its own and its capacity is
that of one core. Origin and load generator get other cores: on two cores they share the second one; on more
they get one each, and hyper-threads of the proxy's core stay empty. On one core everything shares it: CPU
per request still compares, throughput and latency then tell about the whole set.
"""

from __future__ import annotations

import os
import platform
import resource
import socket
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Placement:
    """Core numbers of each party."""

    proxy: frozenset[int]
    origin: frozenset[int]
    load: frozenset[int]

    def as_dict(self) -> dict[str, list[int]]:
        return {role: sorted(cores) for role, cores in asdict(self).items()}


def siblings(core: int) -> set[int]:
    """The hyper-threads of a core, itself included."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        text = path.read_text().strip()
    except OSError:
        return {core}
    cores: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return cores


def place(allowed: set[int] | None = None) -> Placement:
    """Give cores to proxy, origin and load out of those this process may use."""
    cores = sorted(os.sched_getaffinity(0) if allowed is None else allowed)
    proxy, rest = cores[0], cores[1:]
    apart = [core for core in rest if core not in siblings(proxy)] or rest
    if not apart:
        return Placement(frozenset({proxy}), frozenset({proxy}), frozenset({proxy}))
    if len(apart) == 1:
        return Placement(frozenset({proxy}), frozenset(apart), frozenset(apart))
    return Placement(frozenset({proxy}), frozenset(apart[:1]), frozenset(apart[1:3]))


def free_port() -> int:
    """A port that was free a moment ago; whoever uses it must retry when it is taken meanwhile."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def facts(placement: Placement) -> dict[str, object]:
    """What somebody needs to judge whether a result carries over to their machine."""
    return {
        "kernel": platform.release(),
        "arch": platform.machine(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "placement": placement.as_dict(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }
