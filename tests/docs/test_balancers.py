"""docs/balancers.md and conf/balancers.yaml name every balancer, the document every option too."""

from __future__ import annotations

import re
from pathlib import Path

from lbd import registry
from lbd.config.dump import written_default
from lbd.config.loader import load

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "balancers.md").read_text()


def test_every_balancer_has_a_row_that_says_when() -> None:
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)
    chosen = [name for name, _, when, _ in rows if name in registry.BALANCERS and not when.startswith("`")]
    assert sorted(chosen) == sorted(registry.BALANCERS)


def test_every_option_stands_there_with_its_default() -> None:
    options = {}
    for name in registry.BALANCERS:
        model = getattr(registry.resolve("balancer", name), "Options", None)
        for option in model.model_fields if model else ():
            default = written_default(model, option)
            options[name, option] = "" if default is None else str(default)
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (?:`([^`]*)`|) \|", DOCUMENT, re.MULTILINE)
    assert {(name, option): default for name, option, default in rows} == options


def test_every_balancer_has_an_example() -> None:
    clusters = load(ROOT / "conf" / "balancers.yaml", env={}).clusters
    assert {cluster.balancer.name for cluster in clusters} == set(registry.BALANCERS)
