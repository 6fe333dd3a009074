"""Imports go one way (design, section 3): cli -> control -> the rest; the engine stands on its own."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from architecture.sources import FILES, ROOT, cython_imports, imports_of, name_of, part_of, relative

BELOW_CONTROL = {
    "admin",
    "config",
    "discovery",
    "health",
    "observe",
    "filters",
    "llm",
    "balance",
    "limit",
    "engine",
    "registry",
}
ALLOWED = {  # part -> the parts that it may import, beside itself and lbd's version
    "cli": {"control", *BELOW_CONTROL},
    "control": BELOW_CONTROL,
    "discovery": {"config", "engine", "observe", "registry"},
    "admin": {"observe", "config", "engine"},
    "observe": {"config", "engine"},
    "health": {"config", "engine"},
    "llm": {"config", "engine"},
    "config": {"registry"},
    "filters": {"engine"},
    "balance": {"config", "engine"},  # the types of its options
    "limit": {"engine"},
    "engine": set(),
    "registry": set(),
    "": {"cli"},  # lbd/__main__.py
}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_direction(path: Path) -> None:
    part = part_of(name_of(path))
    wrong = {name for name in imports_of(path) if part_of(name) not in {part, "", *ALLOWED[part]}}
    assert not wrong, f"{part or 'lbd'} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", [path for path in FILES if part_of(name_of(path)) == "engine"], ids=relative)
def test_engine_is_on_its_own(path: Path) -> None:
    assert {part_of(name) for name in imports_of(path)} <= {"engine"}


def test_registry_imports_nothing_of_lbd() -> None:
    assert imports_of(ROOT / "lbd" / "registry.py") == set()


def test_parts_form_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        part = part_of(name_of(path))
        graph.setdefault(part, set()).update(part_of(name) for name in imports_of(path))
    for part, others in graph.items():
        others -= {part, ""}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle of parts: {' -> '.join(error.args[1])}")


def test_every_part_has_its_rule() -> None:
    """A new directory needs a line in ALLOWED."""
    assert {part_of(name_of(path)) for path in FILES} <= set(ALLOWED)


def test_what_the_engine_reads_as_imports() -> None:
    """The parser of Cython imports sees all forms; else the tests above would pass on anything."""
    text = (
        "from lbd.a cimport (B,\n   C)\nfrom lbd.d import e, f  # g\n"
        "cimport lbd.h\nimport lbd.i as j, lbd.k\n"
        "    from lbd.l cimport m as n\nfrom lbd.o cimport \\\n    p\n# from lbd.q import r\n"
    )
    assert set(cython_imports(text)) == {
        "lbd.a.B",
        "lbd.a.C",
        "lbd.d.e",
        "lbd.d.f",
        "lbd.h",
        "lbd.i",
        "lbd.k",
        "lbd.l.m",
        "lbd.o.p",
    }
    assert "lbd.engine.reactor.Reactor" in imports_of(ROOT / "lbd/engine/pool.pyx")
