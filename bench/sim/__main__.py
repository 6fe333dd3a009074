"""Entry point of `python -m bench.sim`."""

import sys

from bench.sim.cli import main

sys.exit(main())
