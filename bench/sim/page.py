"""The published page: what stands between its marks is written anew, the findings around it are by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bench.sim.figures import Figures
from bench.sim.profile import Profile
from bench.sim.table import markdown

BEGIN = "<!-- sim:begin -->"
END = "<!-- sim:end -->"

Section = tuple[Profile, Sequence[Figures], Sequence[Path]]


def publish(page: Path, sections: Sequence[Section], seed: int) -> None:
    """Replace what stands between the marks. ValueError when they are not there."""
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no {BEGIN} and {END}")
    parts = [_section(profile, figures, plots, page.parent) for profile, figures, plots in sections]
    body = "\n\n".join([f"Seed {seed}.", *parts])
    page.write_text(f"{head}{BEGIN}\n\n{body}\n\n{END}{tail}")


def _section(profile: Profile, figures: Sequence[Figures], plots: Sequence[Path], base: Path) -> str:
    pictures = [f"![{plot.stem}]({os.path.relpath(plot, base)})" for plot in plots]
    return "\n\n".join([f"### {profile.name}", profile.about, markdown(figures), *pictures])
