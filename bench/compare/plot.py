"""The plot: bars of CPU cost as a ratio to the better of nginx and HAProxy, readable on light and dark pages.

Transparent background, mid-grey text, one colour per proxy. Text stays text (svg.fonttype none), which
keeps the file small. matplotlib is optional: without it the old plot stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.compare.summary import better_reference

GREY = "#8a8a8a"
COLOURS = {
    "lbd": "#e4572e", "nginx": "#3f9b5c", "haproxy": "#4a7fc1",
    "envoy": "#a463b0", "caddy": "#c9a227", "traefik": "#3aa6a6",
}  # fmt: skip
LABELS = {
    "get": "GET", "get12": "GET,\n12 headers", "new": "new\nconnection", "10k": "10 KiB",
    "1m": "1 MiB\nHTTP", "tcp1m": "1 MiB\nTCP", "tcpsmall": "small\nTCP",
    "tls": "TLS\nGET", "tlsnew": "TLS\nhandshake", "h2c": "HTTP/2", "h2": "HTTP/2\nTLS",
    "grpc": "gRPC", "ws": "Web-\nSocket",
}  # fmt: skip
WIDTH, WIDTH_PER_WORK, HEIGHT = 8.0, 0.95, 3.2  # inches; many works need more than the least width
CEILING = 3.0  # a bar beyond this is cut and labelled: one slow proxy must not flatten all others


def ratios(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """work -> proxy -> ratio, for the CPU rows with a valid reference.

    Always to the better reference, since the axis says so, also where the row is judged against one of them.
    """
    found: dict[str, dict[str, float]] = {}
    for row in result["summary"]:
        reference = better_reference(row["cells"])
        if row["metric"] != "cost_us" or row["work"] not in LABELS or not reference:
            continue
        base = row["cells"][reference]["value"]
        found[row["work"]] = {name: c["value"] / base for name, c in row["cells"].items() if c["valid"]}
    return found


def draw(result: Mapping[str, Any], target: Path) -> str | None:
    """Write the SVG; what is wrong otherwise."""
    try:
        import matplotlib
    except ImportError:
        return "matplotlib is not installed: the plot is not drawn"
    matplotlib.use("svg")
    from matplotlib import pyplot

    data = ratios(result)
    if not data:
        return "nothing to draw: no CPU row with nginx or HAProxy in it"
    # A fixed salt and no date: the same result gives the same file.
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "lbd",
        "font.family": "sans-serif",
        "font.size": 9,
    }
    with matplotlib.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=(max(WIDTH, WIDTH_PER_WORK * len(data)), HEIGHT))
        _bars(axes, data, [name for name in COLOURS if name in result["proxies"]])
        _style(axes, list(data))
        figure.tight_layout()
        figure.savefig(target, transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    # matplotlib leaves blanks at line ends, which whitespace checks refuse.
    target.write_text("\n".join(line.rstrip() for line in target.read_text().splitlines()) + "\n")
    return None


def _bars(axes: Any, data: Mapping[str, Mapping[str, float]], names: list[str]) -> None:
    width = 0.8 / len(names)
    for position, name in enumerate(names):
        for index, values in enumerate(data.values()):
            if name not in values:
                continue
            x = index - 0.4 + width * (position + 0.5)
            axes.bar(x, min(values[name], CEILING), width * 0.92, color=COLOURS[name])
            if name == "lbd" or values[name] > CEILING:
                axes.annotate(
                    f"{values[name]:.2f}" if name == "lbd" else f"{values[name]:.1f}",
                    (x, min(values[name], CEILING)), ha="center", va="bottom", color=GREY, fontsize=7,
                )  # fmt: skip
        axes.bar(0, 0, color=COLOURS[name], label=name)


def _style(axes: Any, works: list[str]) -> None:
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(works)), [LABELS[work] for work in works])
    axes.set_ylabel("CPU, ratio to the better\nof nginx and HAProxy", color=GREY)
    axes.set_title("CPU per request or MiB on one core: lower is better", color=GREY, fontsize=10)
    axes.tick_params(colors=GREY, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.legend(frameon=False, labelcolor=GREY, ncols=len(works) or 1, fontsize=8, loc="upper left")
