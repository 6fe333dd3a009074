"""python -m bench.operate [--works reloads,restart] [--rounds N] [--seconds N] [--out FILE]

reloads    50 reloads in 60 s under load, 500 WebSockets and a download of 1 GiB: what fails, what is cut
           (target 0), and the p99 against the same load without reloads (target <= 1.2)
restart    hot restarts under the same load: failed requests (target 0)
worker     kill -9 of a worker of two under load: refused connections (target 0); those in flight fail
watching   CPU of a request with metrics, recorder and JSON access log against none (target <= 1.25), and
           against nginx with its access log (target <= 1.0)
workers    CPU of a request with two workers against one, at the same small rate (target <= 1.05)
large      a reload of 10 000 routes and 1 000 clusters: seconds (target < 1), longest stall (target 20 ms)
"""

from __future__ import annotations

import sys

from bench.operate.works import WORKS
from bench.resilience.run import run

if __name__ == "__main__":
    sys.exit(run(__doc__ or "", "operate", WORKS))
