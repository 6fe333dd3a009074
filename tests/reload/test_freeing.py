"""What a reload has replaced is let go in steps, and is gone after them."""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass
from typing import Any

from reload.test_loading import large

from lbd.config import schema
from lbd.config.loader import load_text
from lbd.control.compile import Runtime
from lbd.control.freeing import AT_ONCE, Former, freed
from lbd.control.pieces import Known, known_of, put_together, taken_apart
from lbd.control.steps import finish


@dataclass
class Maker:
    """As what makes the endpoints of a cluster."""

    setting: schema.Cluster


def former_of(config: schema.Config, known: Known) -> Former:
    makers: dict[str, Any] = {one.name: Maker(one) for one in config.clusters}
    return Former.of(Runtime(config, makers=makers), known)


def test_settings_go_little_by_little() -> None:
    """Those that the new configuration has as well stay."""
    whole = finish(put_together(taken_apart(load_text(large()))))
    after = finish(put_together(taken_apart(load_text(large(changed=7))), whole.known)).config
    clusters = [weakref.ref(one) for one in whole.config.clusters]
    routes = [weakref.ref(one) for one in whole.config.listeners[0].routes]
    former = former_of(whole.config, whole.known)
    del whole
    finish(freed(former))
    assert all(one() is not None for one in routes), "the same in both"
    kept = {id(one) for one in after.clusters}
    assert [one for one in clusters if one() is not None and id(one()) not in kept] == []
    assert 0 < sum(one() is None for one in clusters) < len(clusters)


def test_none_of_the_steps_is_large() -> None:
    config = load_text(large())
    former = former_of(config, finish(known_of(config)))
    settings = [weakref.ref(one) for one in (*config.clusters, *config.listeners[0].routes)]
    del config
    left = [len(settings)]
    for _ in freed(former):
        left.append(sum(one() is not None for one in settings))
    assert left[-1] == 0
    assert max(before - after for before, after in itertools.pairwise(left)) <= AT_ONCE
