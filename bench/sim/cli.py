"""Simulate lbd's balancers and guards: virtual time, made-up servers, the same seed the same numbers.

Exit codes: 0; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.sim.figures import Figures, figures_of
from bench.sim.page import publish
from bench.sim.plots import draw
from bench.sim.profile import Profile
from bench.sim.profiles import PROFILES
from bench.sim.run import Record, run
from bench.sim.table import text
from lbd import registry

EXAMPLES = """examples:
  python -m bench.sim                                        one-slow, all balancers
  python -m bench.sim --list                                 the profiles
  python -m bench.sim --profile one-dead --balancer p2c maglev
  python -m bench.sim --profile cache-keys --balancer maglev maglev:load_factor=1.5
  python -m bench.sim --profile cold-start --seed 7 --json cold.json --svg plots
  python -m bench.sim --profile all --json all.json          everything: some minutes
  python -m bench.sim --profile all --publish docs/balancing-simulated.md
"""
ALL = (*registry.BALANCERS, "maglev:load_factor=1.25")


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.sim",
        description=(__doc__ or "").splitlines()[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--profile", choices=(*PROFILES, "all"), default="one-slow", metavar="NAME", help="default one-slow"
    )
    parser.add_argument(
        "--balancer", nargs="+", metavar="NAME", help="with options as name:option=value,option=value"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--svg", type=Path, metavar="DIR", help="write plots")
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="PAGE",
        help="write tables and plots into a page, between its marks; plots lie beside it, in sim/",
    )
    parser.add_argument("--list", action="store_true", help="say which profiles there are")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(sys.argv[1:] if arguments is None else arguments)
    if chosen.list:
        for name, made in PROFILES.items():
            print(f"{name:16} {made().about}")
        return 0
    results: dict[str, Any] = {"seed": chosen.seed, "profiles": {}}
    sections: list[tuple[Profile, list[Figures], list[Path]]] = []
    if chosen.publish and not chosen.svg:
        chosen.svg = chosen.publish.parent / "sim"
    for name in PROFILES if chosen.profile == "all" else (chosen.profile,):
        profile = PROFILES[name]()
        try:
            records, figures = simulate(profile, chosen.balancer or profile.balancers or ALL, chosen.seed)
        except ValueError as error:
            print(f"bench.sim: {error}", file=sys.stderr)
            return 2
        print(text(figures), end="\n\n", flush=True)
        results["profiles"][name] = {"about": profile.about, "runs": [one.plain() for one in figures]}
        plots = draw(profile, records, figures, chosen.svg) if chosen.svg else []
        for path in plots:
            print(f"wrote {path}")
        sections.append((profile, figures, plots))
    if chosen.publish:
        publish(chosen.publish, sections, chosen.seed)
        print(f"wrote {chosen.publish}")
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def simulate(profile: Profile, balancers: Sequence[str], seed: int) -> tuple[list[Record], list[Figures]]:
    """Every balancer with every variant of the profile. ValueError: there is no such balancer or option."""
    print(f"{profile.name}: {profile.about}")
    began = time.monotonic()
    records = [
        run(profile, balancer, variant, seed) for balancer in balancers for variant in profile.variants
    ]
    figures = [figures_of(record) for record in records]
    requests = sum(one.requests for one in figures)
    print(f"{requests} requests, {len(records)} runs in {time.monotonic() - began:.1f} s; seed {seed}\n")
    return records, figures
