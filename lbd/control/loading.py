"""Loading a configuration in a process of its own, so that the loop serves clients meanwhile.

    load_aside(path) -> Loaded, or ConfigErrors
    put_together(pieces) -> Config, in as many steps

Reading and checking ten thousand routes takes a second of CPU. The child does that, runs the tests that the
configuration has, and sends the result in pieces that are small enough to be taken in between two rounds of
the loop. It is this module run as a program; what it sends is trusted as far as lbd's own code is.
"""

from __future__ import annotations

import asyncio
import gc
import io
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lbd.config import schema
from lbd.config.errors import ConfigErrors
from lbd.control.steps import Steps, unhurried

PIECE = 25  # routes or clusters
SECONDS = 60.0


class LoadFailed(Exception):
    """The process that loads could not do its work; str() says why."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """pieces: the same as bytes, for other processes."""

    config: schema.Config
    pieces: bytes


async def load_aside(path: Path) -> Loaded:
    """The configuration of a file or directory. ConfigErrors; LoadFailed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, os.fspath(path)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            said, problem = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise LoadFailed(f"loading {path} takes more than {SECONDS:g} s") from None
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode != 0:
        last = problem.decode(errors="replace").strip().splitlines()[-1:]
        raise LoadFailed(f"loading {path} failed with {process.returncode}: {''.join(last)}")
    return Loaded(await unhurried(put_together(said)), said)


def taken_apart(config: schema.Config) -> bytes:
    """As bytes, for put_together."""
    out = io.BytesIO()
    _send_config(out, config)
    return out.getvalue()


def put_together(said: bytes) -> Steps[schema.Config]:
    """What a process that loads has said, or taken_apart."""
    pieces = _pieces(said)
    first = pickle.loads(next(pieces))
    if isinstance(first, ConfigErrors):
        raise first
    config: schema.Config = first
    listeners, clusters = [], []
    routes: list[schema.Route] = []
    for piece in pieces:
        kind, items = pickle.loads(piece)
        if kind == "routes":
            routes += items
        elif kind == "listener":
            listeners.append(items.model_copy(update={"routes": tuple(routes)}))
            routes = []
        else:
            clusters += items
        yield
    return config.model_copy(update={"listeners": tuple(listeners), "clusters": tuple(clusters)})


def _pieces(said: bytes) -> Iterator[memoryview]:
    view, at = memoryview(said), 0
    while at < len(view):
        (size,) = struct.unpack_from("<I", view, at)
        yield view[at + 4 : at + 4 + size]
        at += 4 + size


def _send(out: BinaryIO, what: Any) -> None:
    piece = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    out.write(struct.pack("<I", len(piece)) + piece)


def _send_config(out: BinaryIO, config: schema.Config) -> None:
    _send(out, config.model_copy(update={"listeners": (), "clusters": ()}))
    for listener in config.listeners:
        for at in range(0, len(listener.routes), PIECE):
            _send(out, ("routes", listener.routes[at : at + PIECE]))
        _send(out, ("listener", listener.model_copy(update={"routes": ()})))
    for at in range(0, len(config.clusters), PIECE):
        _send(out, ("clusters", config.clusters[at : at + PIECE]))


def _main() -> None:
    from lbd.config.loader import load
    from lbd.control.config_tests import raise_failed

    gc.disable()  # a process that ends soon
    out = sys.stdout.buffer
    try:
        config = load(Path(sys.argv[1]))
        raise_failed(config)
    except ConfigErrors as errors:
        _send(out, errors)
    else:
        _send_config(out, config)
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    _main()
