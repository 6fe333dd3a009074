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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
_QUOTED = ("'", '"', "|", ">")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TYPED = frozenset("~nNtTfF-+.0123456789")  # what begins with another character is text
_TAGS = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "seq", "map")}


@dataclass(slots=True)
class Node:
    """A value and where it is written. `pairs` for mappings, `items` for lists, `text` for scalars.

    There may be some hundred thousand: what a kind does not have is one empty tuple for all of them."""

    kind: str  # map, list or scalar
    file: str
    line: int
    column: int
    text: str = ""
    tag: str | None = None  # the type of a scalar, when it is quoted or tagged
    items: Sequence[Node] = ()
    pairs: Sequence[tuple[Node, Node]] = ()
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
        self.next: Callable[[], Any] = _LOADER(text).get_event

    def build(self) -> Node | None:
        root = None
        while not isinstance(event := self.next(), yaml.StreamEndEvent):
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
        kind = type(event)
        if kind is yaml.ScalarEvent:
            node = self.scalar(event)
        elif kind is yaml.AliasEvent:
            node = self.alias(event)
            self.size += node.size - 1
        elif kind is yaml.SequenceStartEvent:
            node = self.sequence(event, depth)
        else:
            node = self.mapping(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.size += 1
        if self.size > MAX_NODES:
            raise self.error(event, f"more than {MAX_NODES} values, aliases expanded")
        return node

    def alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self.error(
                event, f"alias '*{event.anchor}' has no anchor '&{event.anchor}' that ends before it"
            )
        return self.anchors[event.anchor]

    def tag(self, event: Any) -> str | None:
        if event.tag is None or event.tag == "!":
            return None
        tag = _TAGS.get(event.tag)
        if tag is None:
            raise self.error(event, f"unknown tag {event.tag!r}")
        return tag

    def scalar(self, event: Any) -> Node:
        tag = self.tag(event)
        if tag in ("seq", "map"):
            raise self.error(event, f"the tag says {tag}, but this is a single value")
        if tag is None and (event.style in _QUOTED or event.tag == "!"):
            tag = "str"
        mark = event.start_mark
        return Node("scalar", self.name, mark.line + 1, mark.column + 1, event.value, tag)

    def sequence(self, event: Any, depth: int) -> Node:
        if self.tag(event) not in (None, "seq"):
            raise self.error(event, f"the tag says {self.tag(event)}, but this is a list")
        items: list[Node] = []
        size = 1
        while type(inner := self.next()) is not yaml.SequenceEndEvent:
            item = self.node(inner, depth + 1)
            items.append(item)
            size += item.size
        mark = event.start_mark
        return Node("list", self.name, mark.line + 1, mark.column + 1, items=items, size=size)

    def mapping(self, event: Any, depth: int) -> Node:
        if self.tag(event) not in (None, "map"):
            raise self.error(event, f"the tag says {self.tag(event)}, but this is a map")
        pairs: list[tuple[Node, Node]] = []
        merged: list[Node] = []
        while type(inner := self.next()) is not yaml.MappingEndEvent:
            key = self.node(inner, depth + 1)
            if key.kind != "scalar":
                raise self.error(inner, "a key must be text")
            value_event = self.next()
            value = self.node(value_event, depth + 1)
            if key.text == "<<" and key.tag is None:
                merged += self.merge_sources(value_event, value)
            else:
                pairs.append((key, value))
        _merge(pairs, merged)
        size = 1 + sum([1 + value.size for _, value in pairs])
        mark = event.start_mark
        return Node("map", self.name, mark.line + 1, mark.column + 1, pairs=pairs, size=size)

    def merge_sources(self, event: Any, value: Node) -> Sequence[Node]:
        sources = value.items if value.kind == "list" else [value]
        if any(source.kind != "map" for source in sources):
            raise self.error(event, "'<<' merges mappings; give an alias of a mapping, or a list of such")
        return sources


def _merge(pairs: list[tuple[Node, Node]], sources: Sequence[Node]) -> None:
    """Settings of the sources that are not given themselves."""
    own = {key.text for key, _ in pairs} if sources else set()
    for source in sources:
        added = [(key, value) for key, value in source.pairs if key.text not in own]
        pairs += added
        own.update(key.text for key, _ in added)
