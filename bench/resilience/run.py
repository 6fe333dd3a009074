"""The command line that bench.resilience and bench.operate share."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.compare.machine import facts, place, raise_file_limit
from bench.compare.process import BenchError
from bench.resilience.stage import Found, Stage


def run(doc: str, kind: str, works: Mapping[str, Callable[[Stage], Found]]) -> int:
    """Parse the command line, do the works that it names, print or write what was found; the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{kind}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--works", default=",".join(works), help="comma separated (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="of work policies (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="of one load (default 3)")
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    chosen = parser.parse_args()
    names = chosen.works.split(",")
    if unknown := [name for name in names if name not in works]:
        parser.error(f"unknown work {unknown[0]}; known are {', '.join(works)}")
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None or shutil.which("wrk") is None:
        parser.error("needs nginx and wrk")
    raise_file_limit()
    placement = place()
    result: dict[str, object] = {"machine": facts(placement), "works": {}}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            with tempfile.TemporaryDirectory(prefix=f"lbd-{kind}-") as directory, ExitStack() as stack:
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
                found = works[name](stage)
        except BenchError as error:
            print(f"bench.{kind}: {name}: {error}", file=sys.stderr)
            return 1
        result["works"][name] = found  # type: ignore[index]
        print(f"{name}: {json.dumps(found)}", flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0

