"""A defect in the middle of a reload: whoever asked is told, and workers wait for nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lbd.control.reload import Refused, Reloader, Report
from lbd.observe.log import Log


class Broken(Reloader):
    async def _reload(self) -> Report:
        raise KeyError("a defect")


class Fleet:
    aborted = 0

    def abort(self) -> None:
        self.aborted += 1


@pytest.mark.parametrize("fleet", [None, Fleet()], ids=["alone", "workers"])
def test_it_is_said_and_undone(capsys: pytest.CaptureFixture[str], fleet: Any) -> None:
    notes: list[tuple[Any, ...]] = []
    audit = SimpleNamespace(note=lambda *what, **how: notes.append((*what, how["outcome"])))
    worker: Any = SimpleNamespace(log=Log(), fleet=fleet, audit=audit)
    reloader = Broken(worker, None, Path("lbd.yaml"))  # type: ignore[arg-type]
    with pytest.raises(Refused, match="restart lbd"):
        asyncio.run(reloader.reload_and_say())
    said = capsys.readouterr().err
    assert "internal error" in said and "KeyError: 'a defect'" in said and "reload refused: internal" in said
    assert reloader.counts == {"ok": 0, "failed": 1} and not reloader.last_ok
    assert notes == [("reload", "refused")]
    assert fleet is None or fleet.aborted == 1
