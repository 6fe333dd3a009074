"""A configuration file or directory to a Config, or to all of its errors at once.

The steps: read files -> parse to nodes with positions (`document`) -> join the files of a directory ->
plain data with environment variables expanded (`expand`) -> validate (`schema`) -> give every error the
position of its node.

Invariant: whatever the input, `load` and `load_text` return a Config or raise ConfigErrors, nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lbd.config import document
from lbd.config.earlier import EARLIER, Earlier
from lbd.config.errors import ConfigError, ConfigErrors
from lbd.config.expand import expand
from lbd.config.messages import AT_KEY, Location
from lbd.config.places import Places, error_at, path_of
from lbd.config.schema import Admin, Config
from lbd.config.tree import Node

__all__ = ["ConfigError", "ConfigErrors", "load", "load_admin", "load_text"]

SUFFIXES = (".yaml", ".yml", ".json")
M = TypeVar("M", bound=BaseModel)


class _AdminAlone(BaseModel):
    """What load_admin reads of a configuration."""

    admin: Admin | None = None


_JOINED = ("listeners", "clusters", "tests")  # lists that several files of a directory may add to


def load(
    path: str | Path, env: Mapping[str, str] | None = None, earlier: Earlier | None = None
) -> Config:
    """The configuration of a file or of a directory of files; raises ConfigErrors. earlier: for those who
    load one after the other."""
    source = Path(path)
    if not source.is_dir():
        return load_text(_read(source), str(path), env, earlier)
    files = _files(source)
    roots = [root for file in files if (root := document.parse(_read(file), str(file))) is not None]
    if not roots:
        raise _failure(str(path), "no settings in any of its files")
    errors: list[ConfigError] = []
    return _build(_join(roots, errors), errors, env, earlier)


def load_admin(path: str | Path, env: Mapping[str, str] | None = None) -> Admin | None:
    """The `admin` settings alone, whatever is wrong with the others: for those who ask a running lbd."""
    source = Path(path)
    files = _files(source) if source.is_dir() else [source]
    roots = [root for file in files if (root := document.parse(_read(file), str(file))) is not None]
    alone = Node("map", str(path), 0, 0)
    alone.pairs = [
        pair for root in roots if root.kind == "map" for pair in root.pairs if pair[0].text == "admin"
    ][:1]
    return validated(_AdminAlone, alone, [], os.environ if env is None else env).admin


def load_text(
    text: str,
    name: str = "<config>",
    env: Mapping[str, str] | None = None,
    earlier: Earlier | None = None,
) -> Config:
    """The configuration of a text; raises ConfigErrors."""
    root = document.parse(text, name)
    if root is None:
        raise _failure(name, "is empty; it needs at least 'listeners'")
    errors: list[ConfigError] = []
    _check_root(root, errors)
    return _build(root, errors, env, earlier)


def _failure(file: str, message: str) -> ConfigErrors:
    return ConfigErrors([ConfigError(file, 0, 0, "", message)])


def _files(directory: Path) -> list[Path]:
    try:
        found = sorted(
            entry
            for entry in directory.iterdir()
            if entry.suffix in SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()
        )
    except OSError as error:
        raise _failure(str(directory), f"cannot be read: {error.strerror}") from None
    if not found:
        raise _failure(str(directory), "no *.yaml, *.yml or *.json file in this directory")
    return found


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(document.MAX_BYTES + 1)
    except FileNotFoundError:
        raise _failure(str(path), "no such file; name another with -c FILE") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _failure(str(path), f"cannot be read: {reason}") from None
    if len(data) > document.MAX_BYTES:
        raise _failure(str(path), "larger than 16 MiB; split it into a directory of files")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        message = f"not UTF-8: byte 0x{data[error.start]:02x}; save the file as UTF-8"
        raise ConfigErrors([ConfigError(str(path), line, column, "", message)]) from None


def _check_root(root: Node, errors: list[ConfigError]) -> bool:
    if root.kind != "map":
        message = "must be a mapping of settings such as 'listeners:' and 'clusters:'"
        errors.append(ConfigError(root.file, root.line, root.column, "", message))
    return root.kind == "map"


def _join(roots: list[Node], errors: list[ConfigError]) -> Node:
    """One root of all files: lists of listeners, clusters, tests add up; anything else may be given once."""
    pairs: list[tuple[Node, Node]] = []
    given: dict[str, tuple[Node, Node]] = {}
    for root in roots:
        if not _check_root(root, errors):
            continue
        for key, value in root.pairs:
            first, before = given.setdefault(key.text, (key, _copy(value)))
            if first is key:
                pairs.append((key, before))
            elif first.file == key.file:
                pairs.append((key, value))  # twice in one file: _Reader reports it
            elif key.text in _JOINED and before.kind == value.kind == "list":
                before.items = [*before.items, *value.items]
            else:
                message = f"already given at {first.file}:{first.line}:{first.column}"
                errors.append(ConfigError(key.file, key.line, key.column, key.text, message))
    return Node("map", roots[0].file, roots[0].line, roots[0].column, pairs=pairs)


def _copy(node: Node) -> Node:
    """A node whose list of items may be added to (an alias shares its node)."""
    return Node(
        node.kind,
        node.file,
        node.line,
        node.column,
        node.text,
        node.tag,
        [*node.items],
        node.pairs,
        node.size,
    )


def _build(
    root: Node, errors: list[ConfigError], env: Mapping[str, str] | None, earlier: Earlier | None
) -> Config:
    if root.kind != "map":
        raise ConfigErrors(errors)
    config = validated(Config, root, errors, os.environ if env is None else env, earlier)
    config.written_at(Places(root))
    return config


def validated(
    model: type[M],
    root: Node,
    errors: list[ConfigError],
    env: Mapping[str, str],
    earlier: Earlier | None = None,
) -> M:
    """The model of a tree of nodes; ConfigErrors, `errors` among them, each at the place of its node."""
    reader = _Reader(root, env, errors)
    data = reader.read()
    try:
        made = model.model_validate(data, context={EARLIER: earlier})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            if not reader.is_known_bad(detail["loc"]):
                errors.append(error_at(root, detail["loc"], detail["msg"], at_key=detail["type"] == AT_KEY))
    if errors:
        raise ConfigErrors(errors)
    return made


class _Reader:
    """Nodes to plain data; remembers what it could not read, so that it is reported once."""

    def __init__(self, root: Node, env: Mapping[str, str], errors: list[ConfigError]) -> None:
        self.root = root
        self.env = env
        self.errors = errors
        self.bad: set[Location] = set()

        self.is_sound = True

    def is_known_bad(self, location: Location) -> bool:
        return location in self.bad

    def read(self) -> Any:
        data = self.plain(self.root)
        if not self.is_sound:
            self.complain(self.root, ())
        return data

    def plain(self, node: Node) -> Any:
        if node.kind == "list":
            return [self.plain(item) for item in node.items]
        if node.kind == "map":
            data: dict[str, Any] = {}
            for key, value in node.pairs:
                if key.text not in data:  # the first one counts, of those that are given twice
                    data[key.text] = self.plain(value)
            self.is_sound = self.is_sound and len(data) == len(node.pairs)
            return data
        try:
            return self.scalar(node)
        except ValueError:
            self.is_sound = False
            return None

    def scalar(self, node: Node) -> Any:
        text = expand(node.text, self.env)
        return document.scalar_value(text, node.tag or document.scalar_type(text))

    def complain(self, node: Node, at: Location) -> None:
        """Of everything below that cannot be read; apart from `plain`, as almost nobody needs locations."""
        if node.kind == "list":
            for index, item in enumerate(node.items):
                self.complain(item, (*at, index))
        elif node.kind == "map":
            self.complain_of_keys(node, at)
        else:
            try:
                self.scalar(node)
            except ValueError as error:
                self.bad.add(at)
                self.errors.append(error_at(self.root, at, str(error)))

    def complain_of_keys(self, node: Node, at: Location) -> None:
        seen: dict[str, Node] = {}
        for key, value in node.pairs:
            first = seen.setdefault(key.text, key)
            if first is key:
                self.complain(value, (*at, key.text))
                continue
            path = path_of(self.root, (*at, key.text))
            message = f"given twice; first at line {first.line}, column {first.column}"
            self.errors.append(ConfigError(key.file, key.line, key.column, path, message))
