"""YAML text to a tree of nodes with positions, with the semantics of the YAML 1.2 core schema.

PyYAML only scans and parses here; the tree is built from its events (tree.pyx), because its composer recurses
without a bound and its resolver speaks YAML 1.1. So `no`, `off`, `on`, `1:30` and `2026-01-01` are text;
only true/false/null and plain numbers have a type. JSON is a subset (tabs between tokens of a .json file
count as spaces).

Invariants: the tree is at most MAX_DEPTH deep and, aliases expanded, at most MAX_NODES large; every node
knows where it is written; keys are text. `<<: *anchor` merges the settings of a mapping that are not
given themselves.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from lbd.config.errors import ConfigError, ConfigErrors
from lbd.config.tree import Node, build
from lbd.config.units import BadValue

MAX_BYTES = 16 * 2**20
_MOST_DIGITS = 100

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TYPED = frozenset("~nNtTfF-+.0123456789")  # what begins with another character is text


def scalar_type(text: str) -> str:
    """The type of a plain scalar by the core schema."""
    if text and text[0] not in _TYPED:
        return "str"
    for name, pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
        if pattern.fullmatch(text):
            return name
    return "str"


def scalar_value(text: str, kind: str) -> Any:
    """The value of a scalar of a type; ValueError with a sentence when the text does not fit."""
    pattern = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}.get(kind)
    if pattern is None:
        return text
    if not pattern.fullmatch(text) or len(text) > _MOST_DIGITS:
        raise BadValue(f"{text[:40]!r} is not a usable {kind}")
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    return float(
        text.replace(".inf", "inf")
        .replace(".Inf", "inf")
        .replace(".INF", "inf")
        .replace(".nan", "nan")
        .replace(".NaN", "nan")
        .replace(".NAN", "nan")
    )


def parse(text: str, name: str) -> Node | None:
    """The root node of a text, or None when it holds no value; ConfigErrors when it is not YAML."""
    _check_text(text, name)
    if name.endswith(".json"):
        text = text.replace("\t", " ")  # JSON has no tab inside a string, and YAML no tab between tokens
    try:
        root = build(name, _LOADER(text).get_event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigErrors([ConfigError(name, line, column, "", _explain(error, text, mark))]) from None
    except yaml.YAMLError as error:
        raise ConfigErrors([ConfigError(name, 1, 1, "", f"not valid YAML: {error}")]) from None
    return None if root is None or _is_null(root) else root


def _is_null(node: Node) -> bool:
    return node.kind == "scalar" and node.tag is None and scalar_type(node.text) == "null"


def _check_text(text: str, name: str) -> None:
    if len(text) > MAX_BYTES:
        raise ConfigErrors(
            [ConfigError(name, 1, 1, "", "larger than 16 MiB; split it into a directory of files")]
        )
    bad = _UNPRINTABLE.search(text, 1 if text[:1] == "\ufeff" else 0)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        what = f"character U+{ord(bad[0]):04X} is not allowed; write it as an escape in double quotes"
        raise ConfigErrors([ConfigError(name, line, column, "", what)])


def _explain(error: yaml.MarkedYAMLError, text: str, mark: Any) -> str:
    line = text.split("\n")[mark.line] if mark and mark.line <= text.count("\n") else ""
    at = line[mark.column : mark.column + 1] if mark else ""
    problem = error.problem or "not valid YAML"
    if at == "\t" or "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab is used for indentation; use spaces"
    if at in ("@", "`", "%") and "token" in problem:
        return f"a value cannot begin with {at!r}; put it in quotes"
    if "undefined alias" in problem or "undefined alias" in (error.context or ""):
        return problem
    hint = _HINTS.get(problem, "")
    if "flow" in (error.context or "") and "${" in line:
        hint = "; inside { } and [ ] put ${...} in quotes"
    context = f" ({error.context})" if error.context and error.context not in problem else ""
    return f"not valid YAML: {problem}{context}{hint}"


_COLON_HINT = "; is the indentation right, or a text with ': ' not in quotes?"
_HINTS = {
    "mapping values are not allowed in this context": _COLON_HINT,
    "mapping values are not allowed here": _COLON_HINT,
    "could not find expected ':'": "; is a colon missing?",
    "did not find expected key": "; is the indentation right, or a quote not closed?",
    "did not find expected <block end>": "; is the indentation right, or a quote not closed?",
}
