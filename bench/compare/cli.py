"""Command line of bench/compare: options, the order of a run, the result file.

    python -m bench.compare [options]      measure, print the table, write bench/results/<date>-<works>.json
    python -m bench.compare render FILE    write README's table, docs/benchmarks.md and docs/benchmarks.svg

Exit codes: 0; 1 the run failed or, with --check-targets, a target is missed; 2 usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bench.compare.haproxy import Haproxy
from bench.compare.machine import facts, place, raise_file_limit
from bench.compare.nginx import Nginx
from bench.compare.process import BenchError, UsageError
from bench.compare.proxies import Lbd, Proxy, first_version, with_lbd_command
from bench.compare.report import render, terminal_table
from bench.compare.rivals import Caddy, Envoy, Traefik
from bench.compare.stage import Settings, Stage
from bench.compare.summary import misses, summarise
from bench.compare.works import WORKS, Work

ROOT = Path(__file__).resolve().parents[2]
QUIET_LOAD = 0.5  # above this somebody else used the cores
REQUIRED = ("lbd", "nginx", "haproxy")


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/compare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", help=f"comma separated, of {','.join(WORKS)} (default: all)")
    parser.add_argument("--proxies", help="comma separated, of lbd,nginx,haproxy,envoy,caddy,traefik")
    parser.add_argument("--rounds", type=_positive, help="default 5, --quick 2")
    parser.add_argument("--seconds", type=_positive, help="per sample, whole seconds; default 3, --quick 1")
    parser.add_argument("--connections", type=_positive, default=64, help="busy connections (default 64)")
    parser.add_argument(
        "--idle-connections", type=_positive, default=4000, help="for work idle (default 4000)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds of 1 s: a first impression, not a result"
    )
    parser.add_argument("--out", type=Path, help="result file (default bench/results/<date>-<works>.json)")
    parser.add_argument(
        "--lbd", help='how to start lbd (default "<this python> -m lbd run -c"); the config follows'
    )
    parser.add_argument(
        "--tuning", choices=("expert", "stock"), default="expert",
        help="nginx and HAProxy for large bodies: as an expert sets them up (default) or with their defaults",
    )  # fmt: skip
    parser.add_argument(
        "--check-targets", action="store_true", help="exit 1 when a target is missed or lbd made an error"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def chosen_works(text: str | None) -> list[Work]:
    names = text.split(",") if text else list(WORKS)
    if unknown := [name for name in names if name not in WORKS]:
        raise UsageError(f"unknown work {', '.join(unknown)}; there are {', '.join(WORKS)}")
    # In the table's order: `get` comes before `latency`, which needs its capacity.
    return [work for name, work in WORKS.items() if name in names]


def chosen_proxies(text: str | None, lbd: str | None, tuned: bool = True) -> tuple[list[Proxy], list[str]]:
    """The proxies of this run and a note for each one left out. A proxy asked for by name must be there."""
    subject = with_lbd_command(lbd) if lbd else Lbd()
    others: tuple[Proxy, ...] = (Haproxy(tuned=tuned), Envoy(), Caddy(), Traefik())
    known: dict[str, Proxy] = {proxy.name: proxy for proxy in (subject, Nginx(tuned=tuned), *others)}
    names = text.split(",") if text else list(known)
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"unknown proxy {', '.join(unknown)}; there are {', '.join(known)}")
    found: list[Proxy] = []
    notes: list[str] = []
    for name, proxy in known.items():
        reason = proxy.missing() if name in names else "not asked for"
        if reason is None:
            found.append(proxy)
        elif name in names and (text or name in REQUIRED):
            raise BenchError(f"{name} cannot take part: {reason}")
        elif name in names:
            notes.append(f"{name} is left out: {reason}")
    return found, notes


def check_tools(works: Sequence[Work]) -> None:
    """Raise BenchError for a missing program before anything starts; a compiler is missed when it is used."""
    needed = {"wrk": "wrk", "nginx": "nginx"}
    if any(work.kind == "h2load" for work in works):
        needed["h2load"] = "nghttp2-client"
    for role, tool, package in (("grpc", "nghttpd", "nghttp2-server"), ("tls", "openssl", "openssl")):
        if any(work.role == role for work in works):
            needed[tool] = package
    for tool, package in needed.items():
        if not shutil.which(tool):
            raise BenchError(f"{tool} is not installed (Debian: apt install {package})")


def assemble(stage: Stage, notes: list[str], machine: dict[str, object]) -> dict[str, Any]:
    """Everything that belongs into the result file."""
    names = [proxy.name for proxy in stage.proxies]
    works = [work.name for work in stage.works]
    versions = {proxy.name: proxy.version() for proxy in stage.proxies}
    tools = {
        "wrk": first_version(["wrk", "-v"]),
        "origin": Nginx().version(),
        "python": platform.python_version(),
    }
    for tool, words, role in (("h2load", ["--version"], None), ("nghttpd", ["--version"], "grpc")):
        if any(work.kind == "h2load" and role in (None, work.role) for work in stage.works):
            tools[tool] = first_version([tool, *words])
    settings = {**vars(stage.settings), "latency_rate": stage.rate}
    return {
        "format": 1,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": versions | tools,
        "settings": settings,
        "proxies": names,
        "works": works,
        "notes": notes + stage.notes,
        "summary": summarise(stage.samples, names, works),
        "commands": portable({**stage.commands, **stage.generators.commands}, stage.directory),
        "configs": portable(stage.configs, stage.directory),
        "samples": portable(stage.samples, stage.directory),
    }


def portable(value: Any, directory: Path) -> Any:
    """The same without the paths of this machine: a result file is committed."""
    text = json.dumps(value)
    for path, name in ((directory, "DIR"), (ROOT, "REPO"), (Path(sys.prefix), "PYTHON")):
        text = text.replace(str(path), name)
    return json.loads(text)


def result_path(result: dict[str, Any]) -> Path:
    works = "all" if len(result["works"]) == len(WORKS) else "+".join(result["works"])
    stamp = result["date"][:19].replace("-", "").replace(":", "")
    return ROOT / "bench" / "results" / f"{stamp}-{works}.json"


def measure(arguments: argparse.Namespace) -> int:
    works = chosen_works(arguments.works)
    check_tools(works)
    raise_file_limit()
    proxies, notes = chosen_proxies(arguments.proxies, arguments.lbd, arguments.tuning == "expert")
    settings = Settings(
        rounds=arguments.rounds or (2 if arguments.quick else 5),
        seconds=arguments.seconds or (1 if arguments.quick else 3),
        connections=arguments.connections,
        idle_connections=arguments.idle_connections,
        tuning=arguments.tuning,
    )
    placement = place()
    machine = facts(placement)
    if os.getloadavg()[0] > QUIET_LOAD:
        notes.append(f"the machine was not quiet: load average {os.getloadavg()[0]:.2f} before the run")
    os.sched_setaffinity(0, placement.load)  # this process must not disturb the proxy
    with tempfile.TemporaryDirectory(prefix="lbd-bench-") as directory:
        stage = Stage(Path(directory), placement, proxies, works, settings)
        for note in notes:
            stage.progress.say(note)
        stage.run()
        result = assemble(stage, notes, machine)
    path = arguments.out or result_path(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(terminal_table(result))
    print(f"result: {path}")
    missed = misses(result["summary"]) if arguments.check_targets else []
    for text in missed:
        print(f"target: {text}", file=sys.stderr)
    return 1 if missed else 0


def render_file(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench/compare render")
    parser.add_argument("result", type=Path)
    path: Path = parser.parse_args(arguments).result
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: {error}") from error
    problems = render(result, path, ROOT)
    for problem in problems:
        print(f"render: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return render_file(words[1:]) if words[:1] == ["render"] else measure(options(words))
    except BenchError as error:
        print(f"bench/compare: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("bench/compare: interrupted; everything it started is stopped", file=sys.stderr)
        return 130
