#!/usr/bin/env python3
"""Entry point of `python -m bench.compare` and of `python bench/compare`.

Run as a directory or a file there is no parent package; then the root of the repository goes on the path
first.
"""

import sys
from pathlib import Path

if not __package__:
    # Python put this directory there; its module names must not shadow anything.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from bench.compare.cli import main

sys.exit(main())
