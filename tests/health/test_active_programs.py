"""Active checks by programs: what they are given, what their ends mean, and that none outlives its check."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import uvloop
from harness.lbd import Lbd
from harness.origin import Refusing
from harness.waiting import TIMEOUT, eventually
from health.watching import await_line, is_healthy, said

from lbd.health.exec import Runner

START = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {status: 204}}]}]
clusters:
"""
CLUSTER = """
  - name: %s
    endpoints: [{address: <at>, name: one}]
    health_check: {type: exec, command: %s, interval: %s, timeout: %s, unhealthy: 1, healthy: 1}
"""
SHELL = "[/bin/sh, -c, '%s']"
# name -> command, why the endpoint is down (None: it is up), interval, timeout
CASES: dict[str, tuple[str, str | None, str, str]] = {
    "well": (SHELL % "exit 0", None, "10s", "10s"),
    "well_but_noisy": (SHELL % "echo a warning >&2; exit 0", None, "10s", "10s"),
    "by_path": ("['true']", None, "10s", "10s"),
    "arguments": (SHELL % 'test "$1" = "a b" -a "$#" = 2 -a "$2" = c', None, "10s", "10s"),
    "environment": (SHELL % "env > <dir>/environment", None, "10s", "10s"),
    "says_why": (SHELL % "echo no; echo replication stopped >&2; echo more >&2; exit 2",
                 "replication stopped", "10s", "10s"),
    "says_why_on_stdout": (SHELL % "echo disk full; exit 1", "disk full", "10s", "10s"),
    "says_nothing": (SHELL % "exit 3", "/bin/sh ended with 3", "10s", "10s"),
    "killed": (SHELL % "kill -9 $$", "/bin/sh ended with -9", "10s", "10s"),
    "control_bytes": (SHELL % r'printf "a\033[31mb\001\377" >&2; exit 1', "a", "10s", "10s"),
    "very_long": (SHELL % "head -c 300000 /dev/zero | tr \"\\\\0\" x >&2; exit 1", "x" * 100, "10s", "10s"),
    "missing": ("[/nonexistent/check]", "/nonexistent/check: No such file or directory", "10s", "10s"),
    "not_executable": ("[<dir>/text]", "<dir>/text: Permission denied", "10s", "10s"),
    "hangs": (SHELL % "echo $$ >> <dir>/hanging; sleep 1000 & echo $! >> <dir>/hanging; wait",
              "no answer within 400 ms", "100ms", "400ms"),
    "leaves_a_child": (SHELL % "sleep 1000 & echo $! > <dir>/left; exit 0", None, "10s", "5s"),
    "changes": (SHELL % "state=$(cat <dir>/state); echo $state >&2; exit $state", None, "20ms", "10s"),
}


def written(command: str, directory: Path) -> str:
    """As it stands in a configuration, where $$ means $."""
    return command.replace("$", "$$").replace("<dir>", str(directory))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("programs")
    (made / "text").write_text("not a program")
    (made / "state").write_text("0")
    return made


@pytest.fixture(scope="module")
def lbd(directory: Path) -> Iterator[Lbd]:
    config = START
    for name, (command, _, interval, timeout) in CASES.items():
        if name == "arguments":
            command = command[:-1] + ", check, a b, c]"
        config += CLUSTER % (name, written(command, directory), interval, timeout)
    with ExitStack() as stack:
        at = stack.enter_context(Refusing())
        yield stack.enter_context(Lbd(config, env={"SECRET_OF_LBD": "hidden"}, at=at))


def is_gone(pid: int) -> bool:
    """No process, or one that has ended and was not waited for by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("name", CASES)
def test_verdict(lbd: Lbd, directory: Path, name: str) -> None:
    eventually(lambda: is_healthy(lbd, name) is not None, "the first result", timeout=10)
    why, lines = CASES[name][1], said(lbd, f"endpoint {name}/one: ")
    assert is_healthy(lbd, name) == (why is None), lines
    assert len(lines) == (why is not None) and all(
        f"down: {why}".replace("<dir>", str(directory)) in line for line in lines
    )


def test_environment(lbd: Lbd, directory: Path) -> None:
    """Nothing of lbd's own but PATH: its secrets come by the environment."""
    eventually(lambda: is_healthy(lbd, "environment") is not None, "a result")
    lines = (directory / "environment").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines)
    address = lbd.config.split("address: ")[1].split(",")[0].split(":")
    assert given["LBD_CLUSTER"] == "environment" and given["LBD_ENDPOINT"] == "one"
    assert [given["LBD_HOST"], given["LBD_PORT"]] == address
    assert given["PATH"] == os.environ["PATH"] and "SECRET_OF_LBD" not in given


def test_reason_is_one_short_line_without_control_bytes(lbd: Lbd) -> None:
    line = await_line(lbd, "endpoint very_long/one: down")
    assert len(line) < 400
    assert await_line(lbd, "endpoint control_bytes/one: down").isprintable()


@pytest.mark.parametrize("name", ["hanging", "left"])
def test_no_program_outlives_its_check(lbd: Lbd, directory: Path, name: str) -> None:
    """Neither one that is late, nor what a program has left in the background."""
    eventually(lambda: is_healthy(lbd, {"hanging": "hangs", "left": "leaves_a_child"}[name]) is not None, "")
    pids = [int(word) for word in (directory / name).read_text().split()][:2]
    assert pids
    eventually(lambda: all(is_gone(pid) for pid in pids), f"{pids} are gone")


def test_result_that_changes(lbd: Lbd, directory: Path) -> None:
    def write(text: str) -> None:
        (directory / "new").write_text(text)
        (directory / "new").rename(directory / "state")

    eventually(lambda: is_healthy(lbd, "changes") == 1, "a good result")
    write("7")
    assert await_line(lbd, "endpoint changes/one: down").endswith("down: 7")
    write("0")
    await_line(lbd, "endpoint changes/one: up")


def with_environment(text: str) -> list[str]:
    """Processes that have this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if text.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("turns", range(4))
def test_program_that_is_given_up_while_it_starts(turns: int) -> None:
    """It runs already, with a child, when lbd has not yet heard that it has been started."""
    mark = {"LBD_ENDPOINT": f"one-{os.getpid()}-{turns}"}
    text = "=".join(*mark.items())

    async def give_up() -> None:
        end = Runner().launcher(["/bin/sh", "-c", "sleep 1000 & wait"], mark)(Unheard())
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns > 2:
            eventually(lambda: len(with_environment(text)) == 2, "a program and its child")
        end()
        async with asyncio.timeout(TIMEOUT):  # no program may be left
            while len(asyncio.all_tasks()) > 1 or with_environment(text):
                await asyncio.sleep(0.005)

    uvloop.run(give_up())


class Unheard:
    def report(self, ok: bool, why: str | None) -> None:
        raise AssertionError("a check that was given up has no result")


def test_programs_end_with_lbd(directory: Path) -> None:
    pids = directory / "last"
    command = written(SHELL % "echo $$ >> <dir>/last; exec sleep 1000", directory)
    with Refusing() as at, Lbd(START + CLUSTER % ("app", command, "10s", "30s"), at=at):
        eventually(lambda: pids.exists() and pids.read_text().endswith("\n"), "the program runs")
    assert is_gone(int(pids.read_text()))
