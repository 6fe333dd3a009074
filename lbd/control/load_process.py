"""The process that loads configurations, run as a program by loading.py.

The size of a path and the path come in; out go the size and the pieces (pieces.py) of the configuration, its
own tests passed, or of what is wrong with it. At the end of its input it ends. It imports as little as it
can: whoever asked for a reload waits for that.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from lbd.config.earlier import Earlier
from lbd.config.errors import ConfigErrors
from lbd.config.loader import load
from lbd.control.pieces import SIZE, Apart, packed


def _loaded(path: Path, earlier: Earlier, apart: Apart) -> bytes:
    try:
        config = load(path, earlier=earlier)
        if config.tests:
            from lbd.control.config_tests import raise_failed  # it imports what serves

            raise_failed(config)
    except ConfigErrors as errors:
        gc.collect()
        return packed([errors])
    return apart.take(config)


def _main() -> None:
    gc.disable()  # somebody waits, and what is loaded has no cycles; errors may have
    asked, said = sys.stdin.buffer, sys.stdout.buffer
    earlier, apart = Earlier(), Apart()
    while size := asked.read(SIZE.size):
        path = asked.read(*SIZE.unpack(size))
        pieces = _loaded(Path(os.fsdecode(path)), earlier, apart)
        said.write(SIZE.pack(len(pieces)) + pieces)
        said.flush()
        del pieces
    os._exit(0)


if __name__ == "__main__":
    _main()
