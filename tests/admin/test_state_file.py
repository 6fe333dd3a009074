"""The state file: what it keeps, what may be wrong with it, what happens when it cannot be written."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from control.worlds import Lines, compiled

from lbd.control.endpoint_states import EndpointStates
from lbd.control.state_file import MOST_ENTRIES, Entry, StateFile, StateFileError, parse, render

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [{address: "127.0.0.1:1", name: one}, {address: "127.0.0.1:2", name: two}]}]
"""
ENTRIES = {("app", "one"): Entry(5, "draining"), ("b", "unix:/x\ud800\n"): Entry(None, "disabled")}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "new" / "state")
    assert file.read() == {}
    file.write(ENTRIES)
    assert file.read() == ENTRIES and list(file.read()) == list(ENTRIES)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert os.listdir(file.path.parent) == ["state.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = StateFile(tmp_path)
    file.write(ENTRIES)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        file.write({})
    assert file.read() == ENTRIES and os.listdir(tmp_path) == ["state.json"]


def test_a_process_that_died_while_writing_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f".state.json.{os.getpid()}").write_text("half")
    StateFile(tmp_path).write(ENTRIES)
    assert os.listdir(tmp_path) == ["state.json"]


def test_the_oldest_go_first() -> None:
    many = {("app", str(n)): Entry(1) for n in range(MOST_ENTRIES + 5)}
    kept = parse(render(many))
    assert len(kept) == MOST_ENTRIES and next(iter(kept)) == ("app", "5")


def row(**changed: Any) -> bytes:
    one = {"cluster": "app", "endpoint": "one", "weight": 1, "state": "ready", **changed}
    return json.dumps({"version": 1, "endpoints": [one]}).encode()


BROKEN = {
    b"": "it is not JSON",
    b"{": "it is not JSON",
    b"\xff\x00": "it is not JSON",
    b"[" * 200_000: "it is not JSON",
    b"[]": "it has no list of endpoints",
    b'{"version": 1, "endpoints": {}}': "it has no list of endpoints",
    b'{"version": 2, "endpoints": []}': "its version is 2, and this lbd knows 1",
    b'{"endpoints": []}': "its version is None, and this lbd knows 1",
    b'{"version": 1, "endpoints": [1]}': "an endpoint in it is not an object",
    row(cluster=None): "an endpoint in it has no name",
    row(endpoint=["x"]): "an endpoint in it has no name",
    row(weight=True): "endpoint app/one in it has no good weight",
    row(weight=65536): "endpoint app/one in it has no good weight",
    row(weight=-1): "endpoint app/one in it has no good weight",
    row(state="gone"): "endpoint app/one in it has no good state",
    row(state=["ready"]): "endpoint app/one in it has no good state",
}


@pytest.mark.parametrize(("content", "why"), BROKEN.items(), ids=[str(i) for i in range(len(BROKEN))])
def test_what_cannot_be_used_is_set_aside(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(StateFileError, match=why):
        parse(content)
    (tmp_path / "state.json").write_bytes(content)
    log = Lines()
    EndpointStates(log, tmp_path).load()
    assert os.listdir(tmp_path) == ["state.json.broken"]
    assert (tmp_path / "state.json.broken").read_bytes() == content
    ((level, message),) = log.lines
    assert level == "warning" and why in message and "state.json.broken" in message


def test_a_file_without_end(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b" " * (16 * 2**20 + 1))
    with pytest.raises(StateFileError, match="longer than"):
        StateFile(tmp_path).read()


def test_a_pipe_in_its_place_does_not_stop_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.json")
    log = Lines()
    EndpointStates(log, tmp_path).load()
    assert "it is not a file" in log.lines[0][1]


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    log = Lines()
    EndpointStates(log, tmp_path).load()
    assert len(log.lines) == 1 and log.lines[0][0] == "warning"


def test_it_is_restored_and_changes_with_what_is_set(tmp_path: Path) -> None:
    async def run() -> None:
        StateFile(tmp_path).write(
            {("app", "two"): Entry(9, "disabled"), ("gone", "x"): Entry(None, "draining")}
        )
        with compiled(CONFIG) as runtime:
            app = runtime.clusters["app"]
            one, two = app.endpoints
            states = EndpointStates(Lines(), tmp_path)
            states.load()
            assert not states.restore(app, one) and states.restore(app, two)
            assert (two.wanted_weight, two.admin) == (9, "disabled")
            states.set_weight(app, one, 4)
            states.set_state(app, two, "ready")
            states.set_weight(app, two, None)
            assert await states.save()
            states.stop()

    asyncio.run(run())
    assert StateFile(tmp_path).read() == {("gone", "x"): Entry(None, "draining"), ("app", "one"): Entry(4)}


def test_the_number_of_entries_is_bounded(tmp_path: Path) -> None:
    StateFile(tmp_path).write({("gone", str(n)): Entry(1) for n in range(MOST_ENTRIES)})

    async def run() -> None:
        with compiled(CONFIG) as runtime:
            app = runtime.clusters["app"]
            states = EndpointStates(Lines(), tmp_path)
            states.load()
            states.set_weight(app, app.endpoints[0], 4)
            assert await states.save()

    asyncio.run(run())
    kept = StateFile(tmp_path).read()
    assert len(kept) == MOST_ENTRIES
    assert next(iter(kept)) == ("gone", "1") and list(kept)[-1] == ("app", "one")


def test_many_changes_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = StateFile.write

    def count(self: StateFile, entries: Any) -> None:
        written.append(len(entries))
        write(self, entries)

    monkeypatch.setattr(StateFile, "write", count)

    async def run() -> None:
        with compiled(CONFIG) as runtime:
            app = runtime.clusters["app"]
            states = EndpointStates(Lines(), tmp_path)

            async def set_weight(weight: int) -> bool:
                states.set_weight(app, app.endpoints[0], weight)
                return await states.save()

            assert all(await asyncio.gather(*(set_weight(weight) for weight in range(2, 50))))

    asyncio.run(run())
    assert len(written) <= 2
    assert StateFile(tmp_path).read() == {("app", "one"): Entry(49)}


def test_without_a_directory_nothing_is_saved() -> None:
    async def run() -> None:
        states = EndpointStates(Lines(), None)
        states.load()
        assert not await states.save()

    asyncio.run(run())
