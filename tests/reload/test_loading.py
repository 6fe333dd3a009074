"""The process that loads configurations, and the pieces in which they arrive."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import uvloop
from harness.waiting import eventually, is_over
from reload.changing import Changing, body

from lbd.config import schema
from lbd.config.earlier import Earlier
from lbd.config.loader import load_text
from lbd.control.loading import Loading
from lbd.control.pieces import Apart, known_of, put_together, taken_apart
from lbd.control.steps import finish

FIXED = 'listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {body: "<text>"}}]}]'
LARGE = """
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
<routes>
clusters:
<clusters>
"""


def large(changed: int | None = None, more: int = 0) -> str:
    """One of its clusters is another; further routes stand before all others."""
    routes = [f"more{n}" for n in range(more)] + [f"r{n}" for n in range(400)]
    clusters = [f"  - {{name: c{n}, endpoints: ['127.0.0.1:{1 + (n == changed)}']}}" for n in range(300)]
    text = LARGE.replace("<clusters>", "\n".join(clusters))
    lines = [f"      - {{name: {name}, match: {{path: /{name}}}, cluster: c1}}" for name in routes]
    return text.replace("<routes>", "\n".join(lines))


def loaders(lbd: Changing) -> list[int]:
    return loaders_of(lbd.process.pid)


def loaders_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in children if "load_process" in Path(f"/proc/{one}/cmdline").read_text()]


def test_it_stays_for_the_next_reload() -> None:
    with Changing(FIXED, text="one") as lbd:
        assert loaders(lbd) == []
        lbd.reload(FIXED, text="two")
        (pid,) = loaders(lbd)
        assert "listeners" in lbd.refused("listeners: 7")
        lbd.reload(FIXED, text="three")
        assert loaders(lbd) == [pid]
        with lbd.connect() as client:
            assert body(client) == b"three"
    eventually(lambda: is_over(pid), "it ends with lbd")


def test_one_that_dies_is_replaced() -> None:
    with Changing(FIXED, text="one") as lbd:
        lbd.reload(FIXED, text="two")
        (pid,) = loaders(lbd)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: is_over(pid), "it is dead")
        lbd.reload(FIXED, text="three")
        with lbd.connect() as client:
            assert body(client) == b"three"


def together(config: schema.Config, before: schema.Config | None = None) -> schema.Config:
    known = finish(known_of(before)) if before is not None else None
    return finish(put_together(taken_apart(config), known)).config


def test_what_is_taken_apart_is_put_together() -> None:
    config = load_text(large())
    found = together(config)
    assert found == config and found.places.of("listeners", 0, "routes", 399) == "<config>:405"
    assert found.clusters[7].model_fields_set == {"name", "endpoints"}


def test_what_has_not_changed_is_not_made_again() -> None:
    """Whichever process has loaded it, and wherever it stands."""
    before = together(load_text(large()))
    after = together(load_text(large(changed=7, more=3)), before)
    assert after == load_text(large(changed=7, more=3))
    old = {id(one) for one in (*before.listeners[0].routes, *before.clusters)}
    new = [one for one in (*after.listeners[0].routes, *after.clusters) if id(one) not in old]
    names = {one.name for one in new}
    assert {"more0", "more1", "more2", "c7"} <= names
    assert len(new) <= 3 * 100, "no more than the pieces in which they stand"


def test_one_after_the_other() -> None:
    """What is taken apart with the former one in mind is what it would be without."""
    apart, earlier = Apart(), Earlier()
    for changed, more in ((None, 0), (7, 0), (7, 3), (None, 0), (None, 0)):
        config = load_text(large(changed, more), earlier=earlier)
        assert apart.take(config) == taken_apart(load_text(large(changed, more)))


SECRETS = """
admin: {token: abcdefgh-1234567}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    endpoints: ["127.0.0.1:1"]
    sticky: {cookie: {secret: "twelve-and-more-letters-of-it-0123456789"}}
"""


def test_secrets_come_along() -> None:
    """Of pieces that are known, too."""
    config = load_text(SECRETS)
    whole = finish(put_together(taken_apart(config)))
    assert whole.secrets == ["abcdefgh-1234567", "twelve-and-more-letters-of-it-0123456789"]
    assert finish(put_together(taken_apart(config), whole.known)).secrets == whole.secrets


def test_signals_are_not_meant_for_it() -> None:
    """Service managers send them to all processes of a service."""
    with Changing(FIXED, text="one") as lbd:
        lbd.reload(FIXED, text="two")
        (pid,) = loaders(lbd)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            os.kill(pid, number)
        lbd.reload(FIXED, text="three")
        assert loaders(lbd) == [pid]


def test_one_that_ends_while_it_is_asked_is_replaced(tmp_path: Path) -> None:
    config = tmp_path / "lbd.yaml"
    config.write_text(FIXED)

    async def load() -> None:
        loading = Loading()
        pieces = await loading.load(config)
        (pid,) = loaders_of(os.getpid())
        os.kill(pid, signal.SIGSTOP)
        again = asyncio.create_task(loading.load(config))
        await asyncio.sleep(0)  # it is asked, and does not answer
        os.kill(pid, signal.SIGKILL)
        assert await again == pieces
        await loading.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load())


def test_tests_of_configurations_leave_nothing_behind() -> None:
    """They compile what would serve: memory and descriptors of which nothing may stay."""
    tested = FIXED + """
clusters: [{name: unused, endpoints: ["127.0.0.1:1"]}]
tests: [{request: {url: http://a.test/}, expect: {status: 200}}]
"""
    with Changing(FIXED, text="one") as lbd:
        lbd.reload(tested, text="two")
        (pid,) = loaders(lbd)
        before = len(os.listdir(f"/proc/{pid}/fd"))
        for number in range(5):
            lbd.reload(tested, text=str(number))
        assert loaders(lbd) == [pid]
        eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, "all are closed")
