"""Places: where in its files each setting of a configuration is written."""

from __future__ import annotations

from array import array
from typing import Any

from lbd.config.errors import ConfigError
from lbd.config.messages import Location
from lbd.config.tree import Node


class Places:
    """The tree of nodes that a Config came from, or nothing for one that was made in code.

    All Places are equal: configurations are the same when they say the same, wherever it is written. What a
    daemon keeps, and what goes to another process, is `thin`: it knows the lines of list items, as of routes.
    """

    __slots__ = ("_lines", "root")

    def __init__(self, root: Node | None = None, lines: Lines | None = None) -> None:
        self.root = root
        self._lines = lines

    def __reduce__(self) -> tuple[Any, ...]:
        return Places, (None, self.thin()._lines)

    def thin(self) -> Places:
        """The same, in a fraction of the memory."""
        return self if self.root is None else Places(None, Lines.of(self.root))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places)

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"<Places {self.root.file if self.root is not None else 'of no file'}>"

    def of(self, *location: int | str) -> str | None:
        """`conf/lbd.yaml:14`: of the nearest setting around it that is written; None: not from a file."""
        if self.root is None:
            return self._lines.nearest(location) if self._lines is not None else None
        error = error_at(self.root, location, "")
        return f"{error.file}:{error.line}"

    def error(self, location: Location, message: str, *, at_key: bool = False) -> ConfigError:
        """A sentence about the setting at a location, or the nearest around it; at line 0 without a file."""
        if self.root is None:
            return ConfigError(self.of(*location) or "<config>", 0, 0, _plain_path(location), message)
        return error_at(self.root, location, message, at_key=at_key)


class Lines:
    """Files and lines of the items of lists, two lists deep: listeners, routes, clusters, endpoints."""

    __slots__ = ("files", "items", "root")

    def __init__(self, root: str, files: list[str], items: dict[Location, array[int]]) -> None:
        self.root = root
        self.files = files
        self.items = items  # location of a list -> index of the file and line of each of its items

    def __reduce__(self) -> tuple[Any, ...]:
        return Lines, (self.root, self.files, self.items)

    @classmethod
    def of(cls, root: Node) -> Lines:
        files: dict[str, int] = {}
        items: dict[Location, array[int]] = {}
        waiting: list[tuple[Location, Node]] = [((key.text,), value) for key, value in root.pairs]
        while waiting:
            at, node = waiting.pop()
            if node.kind != "list" or not node.items:
                continue
            marks = items[at] = array("L")
            for index, item in enumerate(node.items):
                marks.extend((files.setdefault(item.file, len(files)), item.line))
                if len(at) == 1:
                    waiting += [((*at, index, key.text), value) for key, value in item.pairs]
        return cls(f"{root.file}:{root.line}", list(files), items)

    def nearest(self, location: Location) -> str:
        for end in range(len(location) - 1, 0, -1):
            index, marks = location[end], self.items.get(location[:end])
            if marks is not None and isinstance(index, int) and 2 * index + 1 < len(marks):
                return f"{self.files[marks[2 * index]]}:{marks[2 * index + 1]}"
        return self.root


def error_at(root: Node, location: Location, message: str, *, at_key: bool = False) -> ConfigError:
    """An error at the node of a location, or at the nearest node around it."""
    node = key = root
    for index, part in enumerate(location):
        found = step(node, part)
        if found is None:
            location, at_key = location[:index], False
            break
        key, node = found
    mark = key if at_key else node
    return ConfigError(mark.file, mark.line, mark.column, path_of(root, location), message)


def step(node: Node, part: int | str) -> tuple[Node, Node] | None:
    """The key (or the item again) and the value that a part of a location leads to."""
    if isinstance(part, int):
        return (node.items[part],) * 2 if node.kind == "list" and part < len(node.items) else None
    return node.pair(part)


def path_of(root: Node, location: Location) -> str:
    """`clusters.api.endpoints[1].weight`: list items that have a name are shown by it."""
    node: Node | None = root
    path = ""
    for part in location:
        found = step(node, part) if node is not None else None
        node = found[1] if found else None
        name = node.value_of("name") if node is not None and isinstance(part, int) else None
        if name is not None and name.kind == "scalar" and name.text:
            path += f".{_printable(name.text)}"
        else:
            path += f"[{part}]" if isinstance(part, int) else f".{_printable(part)}"
    return path.removeprefix(".")


def _plain_path(location: Location) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )


def _printable(text: str) -> str:
    """A key or name for a one-line message, whatever somebody wrote there."""
    return text if text.isprintable() else repr(text)
