"""Pieces: a configuration as bytes, small enough each to be taken in between two rounds of the loop.

    taken_apart(config) -> bytes, for any process of lbd
    put_together(bytes, known) -> Whole, in as many steps

What the same bytes came to before is used again: nothing that a reload leaves alone is made anew, and it is
found equal at a glance. Where lists are cut depends on their items, so that one more moves no other cut.
What is put together is trusted as far as lbd's own code is.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lbd.config import schema
from lbd.config.errors import ConfigErrors
from lbd.config.secrets import secrets_of

if TYPE_CHECKING:
    from lbd.control.steps import Steps

USUAL = 25  # items in a piece, on average
MOST = 100
DIGEST_BYTES = 16
SIZE = struct.Struct("<Q")  # of what follows

Part = tuple[str, Any]  # kind and content
Known = Mapping[bytes, Any]  # digest of a piece -> what it came to


@dataclass(frozen=True, slots=True)
class Whole:
    """secrets: what a log must not show; known: for what is put together next."""

    config: schema.Config
    secrets: list[str]
    known: Known = field(repr=False)


def packed(things: Iterable[Any]) -> bytes:
    """Each thing as a piece of its own."""
    return _joined(pickle.dumps(thing, pickle.HIGHEST_PROTOCOL) for thing in things)


def _joined(pieces: Iterable[bytes]) -> bytes:
    out = io.BytesIO()
    for piece in pieces:
        out.write(SIZE.pack(len(piece)) + piece)
    return out.getvalue()


def pieces_of(said: bytes) -> Iterator[memoryview]:
    view, at = memoryview(said), 0
    while at < len(view):
        (size,) = SIZE.unpack_from(view, at)
        at += SIZE.size
        yield view[at : at + size]
        at += size


def taken_apart(config: schema.Config) -> bytes:
    """For put_together."""
    return Apart().take(config)


class Apart:
    """Takes one configuration after the other apart; of the same items it makes the same piece only once."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], tuple[object, bytes]] = {}  # by the identities of items

    def take(self, config: schema.Config) -> bytes:
        """See taken_apart."""
        before, self._made = self._made, {}
        return _joined(self._piece(part, before) for part in _parts(config))

    def _piece(self, part: Part, before: Mapping[tuple[int, ...], tuple[object, bytes]]) -> bytes:
        _, content = part
        ids = tuple(map(id, content if isinstance(content, tuple) else (content,)))
        found = before.get(ids)
        made = pickle.dumps(_with_secrets(part), pickle.HIGHEST_PROTOCOL) if found is None else found[1]
        self._made[ids] = content, made  # as long as they are kept nothing else has their identities
        return made


def known_of(config: schema.Config) -> Steps[Known]:
    """For put_together, of a configuration that was not put together."""
    known: dict[bytes, Any] = {}
    for part in map(_with_secrets, _lists(config)):
        known[_digest(pickle.dumps(part, pickle.HIGHEST_PROTOCOL))] = part
        yield
    return known


def _with_secrets(part: Part) -> tuple[str, Any, list[str]]:
    return *part, sorted(set(secrets_of(part[1])))


def _parts(config: schema.Config) -> Iterator[Part]:
    yield "config", config.model_copy(update={"listeners": (), "clusters": ()})
    yield from _lists(config)


def _lists(config: schema.Config) -> Iterator[Part]:
    for listener in config.listeners:
        for routes in _cut(listener.routes):
            yield "routes", routes
        yield "listener", listener.model_copy(update={"routes": ()})
    for clusters in _cut(config.clusters):
        yield "clusters", clusters


def put_together(said: bytes, known: Known | None = None) -> Steps[Whole]:
    """What taken_apart has made, or a ConfigErrors that was packed: it is raised."""
    before, now = known or {}, dict[bytes, Any]()
    config: schema.Config | None = None
    secrets: set[str] = set()
    listeners: list[schema.Listener] = []
    clusters: list[schema.Cluster] = []
    routes: list[schema.Route] = []
    for piece in pieces_of(said):
        digest = _digest(piece)
        made = before.get(digest)
        now[digest] = made = pickle.loads(piece) if made is None else made
        if isinstance(made, ConfigErrors):
            raise made
        kind, content, some = made
        secrets.update(some)
        if kind == "routes":
            routes += content
        elif kind == "listener":
            listeners.append(content.model_copy(update={"routes": tuple(routes)}))
            routes = []
        elif kind == "clusters":
            clusters += content
        else:
            config = content
        yield
    assert config is not None
    lists = {"listeners": tuple(listeners), "clusters": tuple(clusters)}
    return Whole(config.model_copy(update=lists), sorted(secrets), now)


def _digest(piece: bytes | memoryview) -> bytes:
    return hashlib.blake2b(piece, digest_size=DIGEST_BYTES).digest()


def _cut(items: Sequence[schema.Route | schema.Cluster]) -> Iterator[tuple[Any, ...]]:
    """Behind items whose names say so."""
    start = 0
    for at, item in enumerate(items, 1):
        name = item.name or (item.cluster if isinstance(item, schema.Route) else None) or ""
        if zlib.crc32(name.encode()) % USUAL == 0 or at - start == MOST:
            yield tuple(items[start:at])
            start = at
    if start < len(items):
        yield tuple(items[start:])
