"""python -m bench.resilience [--works kill,slow] [--rounds N] [--seconds N] [--out FILE]

policies   CPU of a plain request with all policies configured, against none (target <= 1.05)
checks     share of a core that checks of 1 000 endpoints, one a second each, take (target < 0.05)
kill       kill -9 of two of three endpoints in turn, under load: failed requests (target 0)
slow       one of three endpoints 20 times slower: p99 by balancer (target: 5 times better than round_robin)
scrape     /metrics of 1 000 clusters of 3 endpoints and 10 000 routes: its CPU, and how long a client had to
           wait meanwhile at most (target < 10 ms)
"""

from __future__ import annotations

import sys

from bench.resilience.run import run
from bench.resilience.works import WORKS

if __name__ == "__main__":
    sys.exit(run(__doc__ or "", "resilience", WORKS))
