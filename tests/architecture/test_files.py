"""Files: length, names, words, and that every Cython module is built."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from architecture.sources import FILES, ROOT, name_of, relative

LONGEST = 600
NO_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}
TEXT_OR_COMMENT = re.compile(
    r'(?P<text>"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')|#[^\n]*',
    re.S,
)
SOURCES = [path for path in FILES if path.suffix != ".pyi"]


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_length(path: Path) -> None:
    """400 is the aim, this is the end."""
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_names_say_what_is_inside(path: Path) -> None:
    words = {
        word.lower() for part in path.relative_to(ROOT).with_suffix("").parts for word in part.split("_")
    }
    assert not words & NO_NAMES


def identifiers_of(path: Path) -> set[str]:
    """Names in code; neither texts nor comments."""
    return set(re.findall(r"[A-Za-z_]\w*", TEXT_OR_COMMENT.sub(" ", path.read_text())))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_identifier_says_backend(path: Path) -> None:
    named = {name for name in identifiers_of(path) if "backend" in name.lower()}
    assert not named and "backend" not in path.name


def test_identifiers_are_found() -> None:
    """Else the test above would pass on anything."""
    assert {"Endpoint", "PICK_EFFORT", "cluster"} <= identifiers_of(ROOT / "lbd/engine/cluster.pyx")


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_file_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    first = next((line for line in text.splitlines() if not line.startswith("#")), "")
    assert not text.strip() or first.startswith('"""')


def extensions() -> dict[str, list[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {module["name"]: module["sources"] for module in settings["tool"]["setuptools"]["ext-modules"]}


def test_every_cython_module_is_built() -> None:
    built = extensions()
    assert built == {name_of(path): [relative(path)] for path in FILES if path.suffix == ".pyx"}


def test_cython_modules_are_typed() -> None:
    """mypy sees nothing of an extension module without its stub; those that Python code imports have one."""
    stubs = {name_of(path) for path in FILES if path.suffix == ".pyi"}
    imported = {
        name
        for path in FILES
        if path.suffix == ".py"
        for name in extensions()
        if re.search(
            rf"^\s*(from {re.escape(name)} import|import {re.escape(name)}$)", path.read_text(), re.M
        )
    }
    assert imported <= stubs, f"without a stub: {sorted(imported - stubs)}"
