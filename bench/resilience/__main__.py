"""python -m bench.resilience [--works kill,slow] [--rounds N] [--seconds N] [--out FILE]

policies   CPU of a plain request with all policies configured, against none (target <= 1.05)
checks     share of a core that checks of 1 000 endpoints, one a second each, take (target < 0.05)
kill       kill -9 of two of three endpoints in turn, under load: failed requests (target 0)
slow       one of three endpoints 20 times slower: p99 by balancer (target: 5 times better than round_robin)
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.compare.machine import facts, place, raise_file_limit
from bench.compare.process import BenchError
from bench.resilience.works import WORKS, Stage


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--works", default=",".join(WORKS), help="comma separated (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="of work policies (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="of one load (default 3)")
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    chosen = parser.parse_args()
    names = chosen.works.split(",")
    if unknown := [name for name in names if name not in WORKS]:
        parser.error(f"unknown work {unknown[0]}; known are {', '.join(WORKS)}")
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None or shutil.which("wrk") is None:
        parser.error("needs nginx and wrk")
    raise_file_limit()
    placement = place()
    result: dict[str, object] = {"machine": facts(placement), "works": {}}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            with tempfile.TemporaryDirectory(prefix="lbd-resilience-") as directory, ExitStack() as stack:
                stage = Stage(
                    Path(directory),
                    placement,
                    nginx,
                    [sys.executable, "-m", "lbd", "run", "-c"],
                    chosen.seconds,
                    chosen.rounds,
                    lambda text: print(text, file=sys.stderr),
                    stack,
                )
                found = WORKS[name](stage)
        except BenchError as error:
            print(f"bench.resilience: {name}: {error}", file=sys.stderr)
            return 1
        result["works"][name] = found  # type: ignore[index]
        print(f"{name}: {json.dumps(found)}", flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
