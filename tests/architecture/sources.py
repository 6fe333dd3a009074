"""The source files of lbd, and what each imports or cimports of lbd at run time.

Strategy: plain Python by `ast` (imports under TYPE_CHECKING do not count: they are not there at run time),
Cython by its import lines, of which the continued ones are joined first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = (".py", ".pyx", ".pxd", ".pyi")
FILES = sorted(path for path in (ROOT / "lbd").rglob("*") if path.suffix in SUFFIXES)
CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from\s+(?P<module>[\w.]+)\s+c?import\s+(?P<names>[^#\n]+)|c?import\s+(?P<modules>[^#\n]+))",
    re.M,
)


def name_of(path: Path) -> str:
    """lbd/engine/pool.pyx -> lbd.engine.pool"""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(path: Path) -> set[str]:
    """Dotted names that begin with lbd: modules, and `module.name` of what is taken from them."""
    text = path.read_text()
    found = cython_imports(text) if path.suffix in (".pyx", ".pxd") else python_imports(ast.parse(text))
    return {name for name in found if name == "lbd" or name.startswith("lbd.")}


def python_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from python_imports(other)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from python_imports(node)


def cython_imports(text: str) -> Iterator[str]:
    joined = re.sub(r"\(([^()]*)\)", lambda match: match[1].replace("\n", " "), text.replace("\\\n", " "))
    for match in CYTHON_IMPORT.finditer(joined):
        if match["module"]:
            yield from (
                f"{match['module']}.{name.split()[0]}" for name in match["names"].split(",") if name.strip()
            )
        else:
            yield from (name.split()[0] for name in match["modules"].split(",") if name.strip())


def part_of(name: str) -> str:
    """lbd.engine.pool.X -> engine; lbd.registry -> registry; lbd and lbd.__version__ -> ''"""
    parts = name.split(".")
    return (
        parts[1] if len(parts) > 1 and ((ROOT / "lbd" / parts[1]).is_dir() or parts[1] == "registry") else ""
    )
