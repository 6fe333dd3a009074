"""YAML text to a tree of nodes with positions, with the semantics of the YAML 1.2 core schema.

PyYAML only scans and parses here; the tree is built from its events, because its composer recurses
without a bound and its resolver speaks YAML 1.1. So `no`, `off`, `on`, `1:30` and `2026-01-01` are text;
only true/false/null and plain numbers have a type. JSON is a subset (tabs between tokens of a .json file
count as spaces).

Invariants: the tree is at most MAX_DEPTH deep and, aliases expanded, at most MAX_NODES large; every node
knows where it is written; keys are text. `<<: *anchor` merges the settings of a mapping that are not
given themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from lbd.config.errors import ConfigError, ConfigErrors
from lbd.config.units import BadValue

MAX_DEPTH = 64
MAX_NODES = 500_000
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
_TAGS = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "seq", "map")}


@dataclass(slots=True)
class Node:
    """A value and where it is written. `pairs` for mappings, `items` for lists, `text` for scalars."""

    kind: str  # map, list or scalar
    file: str
    line: int
    column: int
    text: str = ""
    tag: str | None = None  # the type of a scalar, when it is quoted or tagged
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    size: int = 1  # nodes in this tree, aliases expanded

    index: dict[str, tuple[Node, Node]] | None = None

    def pair(self, key: str) -> tuple[Node, Node] | None:
        """A key and its value, the first ones if there are several; only for a tree that is complete."""
        if self.index is None:
            self.index = {name.text: (name, value) for name, value in reversed(self.pairs)}
        return self.index.get(key)

    def value_of(self, key: str) -> Node | None:
        """The value of a key."""
        found = self.pair(key)
        return None if found is None else found[1]


def scalar_type(text: str) -> str:
    """The type of a plain scalar by the core schema."""
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
        return _Builder(text, name).build()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigErrors([ConfigError(name, line, column, "", _explain(error, text, mark))]) from None
    except yaml.YAMLError as error:
        raise ConfigErrors([ConfigError(name, 1, 1, "", f"not valid YAML: {error}")]) from None


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


class _Builder:
    """Builds the tree of one document from parser events."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.anchors: dict[str, Node] = {}
        self.size = 0
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))

    def build(self) -> Node | None:
        root = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self.error(event, "a second document begins here; a file holds one")
            elif isinstance(event, yaml.NodeEvent):
                root = self.node(event, 1)
        if (
            root is not None
            and root.kind == "scalar"
            and root.tag is None
            and scalar_type(root.text) == "null"
        ):
            return None
        return root

    def error(self, event: Any, message: str) -> ConfigErrors:
        mark = event.start_mark
        return ConfigErrors([ConfigError(self.name, mark.line + 1, mark.column + 1, "", message)])

    def node(self, event: Any, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.error(event, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            node = self.alias(event)
        else:
            node = self.fresh(event)
            if node.kind == "list":
                self.fill_list(node, depth)
            elif node.kind == "map":
                self.fill_map(node, depth)
            if event.anchor is not None:
                self.anchors[event.anchor] = node
        self.size += 1 if not isinstance(event, yaml.AliasEvent) else node.size
        if self.size > MAX_NODES:
            raise self.error(event, f"more than {MAX_NODES} values, aliases expanded")
        return node

    def alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self.error(
                event, f"alias '*{event.anchor}' has no anchor '&{event.anchor}' that ends before it"
            )
        return self.anchors[event.anchor]

    def fresh(self, event: Any) -> Node:
        tag = None
        if event.tag is not None and event.tag != "!":
            tag = _TAGS.get(event.tag)
            if tag is None:
                raise self.error(event, f"unknown tag {event.tag!r}")
        where = (self.name, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.ScalarEvent):
            if tag in ("seq", "map"):
                raise self.error(event, f"the tag says {tag}, but this is a single value")
            quoted = event.style in ("'", '"', "|", ">") or event.tag == "!"
            return Node("scalar", *where, text=event.value, tag=tag or ("str" if quoted else None))
        kind = "list" if isinstance(event, yaml.SequenceStartEvent) else "map"
        if tag not in (None, {"list": "seq", "map": "map"}[kind]):
            raise self.error(event, f"the tag says {tag}, but this is a {kind}")
        return Node(kind, *where)

    def fill_list(self, node: Node, depth: int) -> None:
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            item = self.node(event, depth + 1)
            node.items.append(item)
            node.size += item.size

    def fill_map(self, node: Node, depth: int) -> None:
        merged: list[Node] = []
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self.node(event, depth + 1)
            if key.kind != "scalar":
                raise self.error(event, "a key must be text")
            value_event = next(self.events)
            value = self.node(value_event, depth + 1)
            if key.text == "<<" and key.tag is None:
                merged += self.merge_sources(value_event, value)
            else:
                node.pairs.append((key, value))
                node.size += 1 + value.size
        self.merge(node, merged)

    def merge_sources(self, event: Any, value: Node) -> list[Node]:
        sources = value.items if value.kind == "list" else [value]
        if any(source.kind != "map" for source in sources):
            raise self.error(event, "'<<' merges mappings; give an alias of a mapping, or a list of such")
        return sources

    def merge(self, node: Node, sources: list[Node]) -> None:
        own = {key.text for key, _ in node.pairs}
        for source in sources:
            added = [(key, value) for key, value in source.pairs if key.text not in own]
            node.pairs += added
            node.size += sum(1 + value.size for _, value in added)
            own.update(key.text for key, _ in added)
