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
from lbd.control.signals import ignore_signals


def _loaded(path: Path, earlier: Earlier, apart: Apart) -> tuple[bytes, bool]:
    """Pieces, and whether cycles are left behind: by errors, and by what was compiled for tests."""
    try:
        config = load(path, earlier=earlier)
        if config.tests:
            from lbd.control.config_tests import raise_failed  # it imports what serves

            raise_failed(config)
    except ConfigErrors as errors:
        return packed([errors]), True
    return apart.take(config), bool(config.tests)


def _main() -> None:
    ignore_signals()
    gc.disable()  # while somebody waits
    asked, said = sys.stdin.buffer, sys.stdout.buffer
    earlier, apart = Earlier(), Apart()
    while size := asked.read(SIZE.size):
        path = asked.read(*SIZE.unpack(size))
        pieces, has_cycles = _loaded(Path(os.fsdecode(path)), earlier, apart)
        said.write(SIZE.pack(len(pieces)) + pieces)
        said.flush()
        del pieces
        if has_cycles:
            gc.collect()
    os._exit(0)


if __name__ == "__main__":
    _main()
