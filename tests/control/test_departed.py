"""What a reload takes away is told of for a while, and then no more."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from control.worlds import CONFIG, Lines, config_of

from lbd.control.admin_listener import AdminListener
from lbd.control.reload import Reloader
from lbd.control.worker import Worker
from lbd.engine.shared import Shared
from lbd.observe import departed
from lbd.observe.metrics import Exposition

RENAMED = CONFIG.replace("name: here", "name: there").replace("name: db", "name: sql")
WITHOUT = "\n".join(line for line in RENAMED.splitlines() if not re.search("(cluster|name): app", line))
WITHOUT = WITHOUT.replace("respond: {status: 204}},", "respond: {status: 204}}]}").replace("clusters:", "")


def told(worker: Worker, name: str) -> bool:
    return f'="{name}"' in Exposition(worker).text().decode()


def test_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lbd.yaml"

    async def change(worker: Worker, reloader: Reloader, text: str) -> None:
        file.write_text(text)
        await reloader.reload()

    async def go() -> None:
        worker = Worker(config_of(), Lines(), Shared(1, 1 << 20))
        await worker.start()
        reloader = worker.reloader = Reloader(worker, AdminListener(worker), file)
        try:
            await change(worker, reloader, RENAMED)
            assert told(worker, "here") and told(worker, "there") and told(worker, "db")
            monkeypatch.setattr(departed, "KEPT_SECONDS", 0)
            assert not told(worker, "here") and told(worker, "there") and told(worker, "rest")
            assert not told(worker, "db") and told(worker, "sql") and told(worker, "app")
            await change(worker, reloader, WITHOUT)
            assert told(worker, "there") and not told(worker, "rest")
            assert 'lbd_shed_total{cluster="app"}' not in Exposition(worker).text().decode()
            await change(worker, reloader, CONFIG)
            assert told(worker, "here") and told(worker, "db")
            assert 'lbd_shed_total{cluster="app"}' in Exposition(worker).text().decode()
            assert not told(worker, "there") and not told(worker, "sql")
        finally:
            await worker.stop()

    asyncio.run(go())
