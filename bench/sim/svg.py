"""SVG by hand: bars and lines with an axis. Readable on light and dark pages: no background, mid-grey
text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

GREY = "#8a8a8a"
FAINT = "#8a8a8a40"
COLOURS = ("#e4572e", "#4a7fc1", "#3f9b5c", "#a463b0", "#c9a227", "#3aa6a6", "#7a5c45", "#5f6b7a")
LEFT, RIGHT, TOP, BAR, GAP, ROW = 210, 56, 44, 9, 8, 14  # pixels


class Scale:
    """Values to pixels, linear from 0 or logarithmic over whole decades."""

    def __init__(self, values: Sequence[float], first: float, last: float, *, logarithmic: bool) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        self.logarithmic = logarithmic
        self.first, self.last = first, last
        if logarithmic:
            self.low: float = floor(log10(min(positive)))
            self.high: float = ceil(log10(max(positive)))
            self.high += self.low == self.high
            self.ticks = [10.0**power for power in range(self.low, self.high + 1)]
        else:
            step = 10.0 ** floor(log10(max(positive)))
            step = next(s for s in (step / 5, step / 2, step, step * 2) if max(positive) / s <= 6)
            self.low, self.high = 0.0, ceil(max(positive) / step) * step
            self.ticks = [step * turn for turn in range(round(self.high / step) + 1)]

    def __call__(self, value: float) -> float:
        if self.logarithmic:
            value = log10(max(value, 10.0**self.low))
        return self.first + (self.last - self.first) * (value - self.low) / (self.high - self.low)


def bars(title: str, unit: str, data: Mapping[str, Mapping[str, float]], *, logarithmic: bool = False) -> str:
    """data: name of a row -> name of a bar -> value. The bars of a row stand below each other."""
    names = list(next(iter(data.values())))
    width, row = 760, BAR * len(names) + GAP
    bottom = TOP + row * len(data)
    scale = Scale(
        [v for r in data.values() for v in r.values()], LEFT, width - RIGHT, logarithmic=logarithmic
    )
    parts = [*_upright(scale, bottom), *_legend(title, unit, names, width)]
    for place, (label, values) in enumerate(data.items()):
        top = TOP + GAP / 2 + row * place
        parts.append(_text(LEFT - 8, top + BAR * len(names) / 2 + 4, label, anchor="end"))
        for line, (name, value) in enumerate(values.items()):
            colour = COLOURS[names.index(name)]
            y = top + BAR * line
            parts.append(
                f'<rect x="{LEFT}" y="{y:.1f}" width="{max(0.5, scale(value) - LEFT):.1f}" height="{BAR - 1}"'
                f' fill="{colour}"/>'
            )
            parts.append(_text(scale(value) + 4, y + BAR - 1.5, _short(value), size=8))
    return _page(width, bottom + 24, parts)


def lines(
    title: str,
    unit: str,
    data: Mapping[str, Sequence[tuple[float, float]]],
    *,
    shade: tuple[float, float] | None = None,
    logarithmic: bool = False,
) -> str:
    """data: name of a line -> (second, value). shade: seconds of the fault."""
    width, height, left = 760, 314, 60
    across = Scale([x for line in data.values() for x, _ in line], left, width - 16, logarithmic=False)
    heights = [y for line in data.values() for _, y in line]
    up = Scale(heights, height - 30, TOP + ROW, logarithmic=logarithmic)
    parts = _legend(title, unit, list(data), width)
    if shade is not None:
        x, end = across(shade[0]), across(min(shade[1], across.high))
        parts.append(
            f'<rect x="{x:.1f}" y="{TOP + ROW}" width="{end - x:.1f}"'
            f' height="{height - 30 - TOP - ROW}" fill="{FAINT}"/>'
        )
    for tick in up.ticks:
        parts.append(_rule(left, up(tick), width - 16, up(tick)))
        parts.append(_text(left - 6, up(tick) + 3, f"{tick:g}", anchor="end", size=9))
    for tick in across.ticks:
        parts.append(_text(across(tick), height - 14, f"{tick:g} s", anchor="middle", size=9))
    for colour, line in zip(COLOURS, data.values(), strict=False):
        points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return _page(width, height, parts)


def _upright(scale: Scale, bottom: float) -> list[str]:
    found = []
    for tick in scale.ticks:
        x = scale(tick)
        found.append(_rule(x, TOP, x, bottom))
        found.append(_text(x, bottom + 14, f"{tick:g}", anchor="middle", size=9))
    return found


def _legend(title: str, unit: str, names: Sequence[str], width: int) -> list[str]:
    parts = [_text(8, 16, f"{title} ({unit})", size=12)]
    x, y = 8.0, 26
    for colour, name in zip(COLOURS, names, strict=False):
        room = 24 + 6.1 * len(name)
        if x + room > width:
            x, y = 8.0, y + ROW
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="9" height="9" fill="{colour}"/>')
        parts.append(_text(x + 13, y + 8, name, size=10))
        x += room
    return parts


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _text(x: float, y: float, content: str, *, anchor: str = "start", size: int = 10) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{GREY}">'
        f"{escape(content)}</text>"
    )


def _rule(x: float, y: float, end_x: float, end_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{end_x:.1f}" y2="{end_y:.1f}" stroke="{FAINT}"/>'


def _page(width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
        f' height="{height:g}" font-family="sans-serif">'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"
