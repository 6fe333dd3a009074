"""What `lbd replay` prints for people: the counts, then each group with old and new outcome, and examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from lbd.cli.admin_client import printable

KINDS = {  # -> what happens to the requests, colour
    "refused": ("refused now", "red"),
    "served": ("served now, and were refused", "green"),
    "answer": ("get another answer", "yellow"),
    "cluster": ("go to another cluster", "yellow"),
    "route": ("take another route", "yellow"),
    "endpoint": ("go to another endpoint", "yellow"),
    "balance": ("balanced otherwise", "yellow"),
}
LONGEST = 100  # characters of an example


def lines(found: dict[str, Any], *, coloured: bool) -> Iterator[str]:
    """The text, a line each; nothing in it can steer a terminal."""
    paint = _Paint(coloured)
    yield from _summary(found, paint)
    for group in found.get("changes", ()):
        yield from _change(group, paint)
    for group in found.get("undecided", ()):
        yield from _undecided(group, paint)
    for group in found.get("deviations", ()):
        yield from _deviation(group, paint)
    for group in found.get("unusable", ()):
        at = ", ".join(str(line) for line in group["lines"])
        more = ", ..." if group["count"] > len(group["lines"]) else ""
        where = f" (line {at}{more})" if at else ""
        yield paint(f"{group['count']} x no record: {group['why']}{where}", "red")
    for name, count in found["left_out"].items():
        if name in found:
            yield paint(f"{count} more of {name}, in groups that are not listed")


class _Paint:
    """Colours, where they are wanted."""

    def __init__(self, coloured: bool) -> None:
        self.coloured = coloured

    def __call__(self, text: str, colour: str | None = None, *, dim: bool = False) -> str:
        text = printable(text)
        return click.style(text, fg=colour, dim=dim or None) if self.coloured else text


def _summary(found: dict[str, Any], paint: _Paint) -> Iterator[str]:
    counts = found["counts"]
    if not found["requests"]:
        yield "nothing is recorded"
        return
    times = [time for time in (found["first"], found["last"]) if time]
    span = f", recorded from {times[0]} to {times[-1]}" if times else ""
    yield paint(f"{found['requests']} requests replayed{span}")
    rows = [(counts["same"], "the same", None), (counts["changes"], "differ", "yellow")]
    rows += [(counts["undecided"], "cannot be decided", None)] if counts["undecided"] else []
    if counts["deviations"]:
        rows.append((counts["deviations"], "were recorded otherwise than the old configuration says", None))
    rows += [(counts["unusable"], "lines are no records", "red")] if counts["unusable"] else []
    width = len(str(max(count for count, _, _ in rows)))
    for count, said, colour in rows:
        yield paint(f"  {count:>{width}}  {said}", colour if count else None)


def _change(group: dict[str, Any], paint: _Paint) -> Iterator[str]:
    said, colour = KINDS[group["kind"]]
    if "moved" in group:
        said += f": {group['moved']:.1%} of them go to another endpoint"
    yield ""
    yield paint(f"{group['count']} {said}", colour)
    by_cluster = group["kind"] in ("endpoint", "balance")
    yield _side("old", group["listener"], group["old"], by_cluster, paint)
    yield _side("new", group["listener"], group["new"], by_cluster, paint)
    for example in group["examples"]:
        yield _example(example, paint)


def _undecided(group: dict[str, Any], paint: _Paint) -> Iterator[str]:
    yield ""
    yield paint(f"{group['count']} cannot be decided: not recorded is {', '.join(group['needs'])}")
    for side in ("old", "new"):
        for number, outcome in enumerate(group[side]):
            yield _side(side if not number else " or", group["listener"], outcome, False, paint)
    for example in group["examples"]:
        yield _example(example, paint)


def _deviation(group: dict[str, Any], paint: _Paint) -> Iterator[str]:
    was = group["recorded"]
    said = [f"route {was['route']}" if "route" in was else "no route"]
    said += [f"cluster {was['cluster']}"] if "cluster" in was else []
    said += [str(was[name]) for name in ("status", "reason") if name in was]
    yield ""
    yield paint(f"{group['count']} were recorded otherwise: {group['why']}")
    yield paint(f"  was  {group['listener']}: {', '.join(said)}")
    yield _side("old", group["listener"], group["old"], False, paint)
    for example in group["examples"]:
        yield _example(example, paint)


def _side(side: str, listener: str, outcome: dict[str, Any], by_cluster: bool, paint: _Paint) -> str:
    at = outcome.get("cluster_at" if by_cluster else "at")
    place = f"  {paint(at, dim=True)}" if at else ""
    return f"  {side:>3}  {paint(f'{listener}: {said_of(outcome)}')}{place}"


def said_of(outcome: dict[str, Any]) -> str:
    """A decision in short: `route api -> cluster app`."""
    before = f"route {outcome['route']} -> " if "route" in outcome else ""
    if outcome["kind"] == "unreachable":
        return "no listener at this address"
    if outcome["kind"] == "refused":
        return f"{before}{outcome['status']} {outcome['reason']}"
    if outcome["kind"] == "cluster":
        endpoint = f"/{outcome['endpoint']}" if "endpoint" in outcome else ""
        return f"{before}cluster {outcome['cluster']}{endpoint}"
    to = f" to {outcome['location']}" if "location" in outcome else ""
    return f"{before}{outcome['kind']} {outcome['status']}{to}"


def _example(example: dict[str, Any], paint: _Paint) -> str:
    if "method" in example:
        said = f"{example['method']} {example.get('host', '')}{example.get('path', '')}"
    else:
        said = f"from {example.get('client', 'somebody')}"
    said = said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"
    if "old_endpoint" in example:
        ends = (example[f"{side}_endpoint"] or "any" for side in ("old", "new"))
        said += f"  ({' -> '.join(ends)})"
    return paint(f"       {example.get('request_id') or example.get('id', '-')}  {said}", dim=True)
