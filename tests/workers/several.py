"""An lbd with several worker processes."""

from __future__ import annotations

from pathlib import Path

from harness.waiting import eventually
from reload.changing import Changing


class Several(Changing):
    """`workers: 2` before everything else."""

    count = 2

    def __init__(self, config: str, **places: object):
        super().__init__(f"workers: {self.count}\n{config}", **places)

    def write(self, config: str, **places: object) -> None:
        super().write(f"workers: {self.count}\n{config}", **places)

    def pids(self) -> list[int]:
        """Of the workers, in no order."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [pid for pid in map(int, listed.split()) if b"data_worker" in command(pid)]

    def both(self) -> list[int]:
        """All of them, once they are there."""
        return eventually(lambda: len(found := self.pids()) == self.count and found, "all workers are there")


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
