"""Formatting a line of the access log: what it adds to each request when the log is on."""

from __future__ import annotations

import pytest

from bench.micro.conftest import Timed
from lbd.engine.logline import LineWriter

TIMES = 50_000
AGENT = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
AGENTS = {"ascii": AGENT, "quotes": b'"' * len(AGENT), "utf-8": "ü".encode() * (len(AGENT) // 2)}


@pytest.mark.parametrize("form", ["json", "combined"])
@pytest.mark.parametrize("agent", AGENTS)
def test_line(nanoseconds: Timed, form: str, agent: str) -> None:
    writer = LineWriter(form)
    assert b" 200 " in writer.format(b"/items?x=1", AGENTS[agent]).replace(b'"status":200', b" 200 ")
    nanoseconds(TIMES, writer.format, b"/items?x=1", AGENTS[agent], TIMES, shape=f"{form}, {agent}")
