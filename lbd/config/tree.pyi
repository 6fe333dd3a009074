"""The tree of a YAML document, built from the events of PyYAML's parser."""

from collections.abc import Callable, Sequence
from typing import Any

MAX_DEPTH: int
MAX_NODES: int

class Node:
    kind: str
    file: str
    line: int
    column: int
    text: str
    tag: str | None
    items: Sequence[Node]
    pairs: Sequence[tuple[Node, Node]]
    size: int
    def __init__(
        self,
        kind: str,
        file: str,
        line: int,
        column: int,
        text: str = "",
        tag: str | None = None,
        items: Sequence[Node] = (),
        pairs: Sequence[tuple[Node, Node]] = (),
        size: int = 1,
    ) -> None: ...
    def pair(self, key: str) -> tuple[Node, Node] | None: ...
    def value_of(self, key: str) -> Node | None: ...

def build(name: str, get_event: Callable[[], Any]) -> Node | None: ...
