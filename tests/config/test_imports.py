"""config imports nothing of lbd but registry, and registry nothing of lbd at all."""

from __future__ import annotations

import subprocess
import sys

LIST = "import sys, {0}; print(*sorted(name for name in sys.modules if name.startswith({1})))"


def modules_after(imported: str, prefix: str) -> list[str]:
    program = LIST.format(imported, repr(prefix))
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()


def test_config_imports_only_the_registry() -> None:
    parts = "lbd.config.loader, lbd.config.dump, lbd.config.jsonschema, lbd.config.reference"
    found = [name for name in modules_after(parts, "lbd") if not name.startswith("lbd.config")]
    assert found == ["lbd", "lbd._version", "lbd.registry"]


def test_registry_imports_nothing() -> None:
    assert modules_after("lbd.registry", "lbd") == ["lbd", "lbd._version", "lbd.registry"]


def test_the_command_line_starts_light() -> None:
    heavy = (
        "pydantic",
        "yaml",
        "rich",
        "asyncio",
        "h11",
        "uvloop",
        "lbd.config",
        "lbd.control",
        "lbd.engine",
    )
    assert [name for prefix in heavy for name in modules_after("lbd.cli.main", prefix)] == []
