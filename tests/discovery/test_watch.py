"""Watch: what is handed on, what is logged, and when it looks again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from control.worlds import Lines

from lbd.discovery import watch
from lbd.discovery.watch import Outcome, Watch


class Script:
    """Looks that end as scripted; the last one repeats. A test waits for the nth look."""

    def __init__(self, *outcomes: Outcome[Any] | Exception) -> None:
        self.outcomes = list(outcomes)
        self.looks = 0
        self.times: list[float] = []

    async def __call__(self) -> Outcome[Any]:
        self.looks += 1
        self.times.append(asyncio.get_running_loop().time())
        outcome = self.outcomes[min(self.looks, len(self.outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def looked(self, times: int) -> None:
        async with asyncio.timeout(5):
            while self.looks < times:
                await asyncio.sleep(0)


def run(
    script: Script, then: Callable[[Watch[Any], Script], Awaitable[None]]
) -> tuple[list[Any], list[tuple[str, str]], int]:
    """What was found, the log, and how many failures were counted."""
    found: list[Any] = []
    log = Lines()
    failures = 0

    def failed() -> None:
        nonlocal failures
        failures += 1

    async def live() -> None:
        one: Watch[Any] = Watch("it", script, found.append, log, on_failed=failed)
        one.start()
        try:
            await then(one, script)
        finally:
            one.stop()

    asyncio.run(live())
    return found, log.lines, failures


def test_only_changes_are_handed_on() -> None:
    script = Script(*(Outcome(value, 0.0) for value in (1, 1, 2, 2, 1)), Outcome(1, 3600.0))
    found, lines, failures = run(script, lambda _, script: script.looked(6))
    assert (found, lines, failures) == ([1, 2, 1], [], 0)


def test_empty_is_a_finding_but_none_is_not() -> None:
    script = Script(Outcome((1,), 0.0), Outcome(None, 0.0), Outcome((), 0.0), Outcome(None, 3600.0))
    assert run(script, lambda _, script: script.looked(4))[0] == [(1,), ()]


def test_a_problem_is_said_once_per_change() -> None:
    bad: Outcome[Any] = Outcome(None, 0.0, "no answer", failed=True)
    same: Outcome[Any] = Outcome(None, 0.0, "no answer", failed=True, detail="refused")
    other: Outcome[Any] = Outcome(None, 0.0, "line 2 is bad", failed=True)
    good: Outcome[Any] = Outcome(1, 0.0)
    script = Script(bad, same, bad, good, same, bad, other, Outcome(1, 3600.0))
    found, lines, failures = run(script, lambda _, script: script.looked(8))
    assert found == [1] and failures == 6
    assert lines == [
        ("warning", "it: no answer; there is no endpoint of it until then"),
        ("info", "it: good again"),
        ("warning", "it: no answer (refused); the last good answer stays in force"),
        ("warning", "it: line 2 is bad; the last good answer stays in force"),
        ("info", "it: good again"),
    ]


def test_a_defect_is_said_and_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "AFTER_DEFECT", 0.0)
    script = Script(KeyError("x"), Outcome(1, 3600.0))
    found, lines, failures = run(script, lambda _, script: script.looked(2))
    assert found == [1] and failures == 1
    assert lines == [("error", "it: internal error: KeyError('x')")]


def test_a_prompt_does_not_wait_for_the_ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PROMPTED_EVERY", 0.0)

    async def then(one: Watch[Any], script: Script) -> None:
        await script.looked(1)
        one.prompt()
        await script.looked(2)

    assert run(Script(Outcome(1, 3600.0), Outcome(2, 3600.0)), then)[0] == [1, 2]


def test_many_prompts_are_one_look_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PROMPTED_EVERY", 0.2)
    script = Script(Outcome(1, 3600.0))

    async def then(one: Watch[Any], script: Script) -> None:
        async with asyncio.timeout(5):
            while script.looks < 3:
                one.prompt()
                await asyncio.sleep(0)

    run(script, then)
    # measured by the loop's own clock, and only as a lower bound: a slow machine makes it longer
    assert all(
        later - earlier >= 0.19 for earlier, later in zip(script.times, script.times[1:], strict=False)
    )


def test_a_prompt_never_makes_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PROMPTED_EVERY", 3600.0)

    async def then(one: Watch[Any], script: Script) -> None:
        await script.looked(1)
        one.prompt()
        await script.looked(2)

    assert run(Script(Outcome(1, 0.01), Outcome(1, 3600.0)), then)[0] == [1]
