"""The result as people read it: a table for the terminal, README and docs/benchmarks.md from a result file.

Ratios come first. Absolute numbers belong to one machine and stand in the docs as context only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.compare.plot import draw
from bench.compare.works import REFERENCES, SUBJECT

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
Result = Mapping[str, Any]
Row = Mapping[str, Any]


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def absolute(row: Row, proxy: str) -> str:
    found = row["cells"].get(proxy)
    if found is None:
        return "-"
    if not found["valid"]:
        return "invalid"
    return number(found["value"])


def target(row: Row) -> str:
    if row["limit"] is None:
        return "-"
    return f"<= {row['limit']:.2f}" if row["relative"] else f"<= {row['limit']:.0f} {row['unit']}"


def versus(row: Row, proxy: str) -> str:
    """A proxy's value as a ratio to the better reference: for documents, where only ratios carry over."""
    found = row["cells"].get(proxy)
    if found is None:
        return "-"
    if not found["valid"] or row["reference"] is None:
        return "invalid" if not found["valid"] else "-"
    return f"{found['value'] / row['cells'][row['reference']]['value']:.2f}"


def _ratio(row: Row) -> str:
    return "-" if row["ratio"] is None else f"{row['ratio']:.2f}"


def _spread(row: Row, proxy: str) -> str:
    found = row["cells"].get(proxy)
    if not found or not found["valid"]:
        return ""
    return f" ({number(found['least'])} to {number(found['greatest'])})"


def terminal_table(result: Result) -> str:
    """Plain columns: values per proxy, lbd's ratio to the better of nginx and HAProxy, target, verdict."""
    proxies: Sequence[str] = result["proxies"]
    header = ["", "unit", *proxies, f"{SUBJECT}/best", "target", ""]
    lines = [header]
    for row in result["summary"]:
        values = [absolute(row, proxy) for proxy in proxies]
        lines.append([row["title"], row["unit"], *values, _ratio(row), target(row), row["verdict"] or ""])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(
            part.ljust(width) if column < 2 else part.rjust(width)
            for column, (part, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*text, *(f"note: {note}" for note in result["notes"]), *_problems(result)])


def _problems(result: Result) -> list[str]:
    return [
        f"invalid: {row['work']}, {proxy}: {'; '.join(found['problems']) or 'no sample'}"
        for row in result["summary"]
        for proxy, found in row["cells"].items()
        if not found["valid"]
    ]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _table(result: Result, columns: Sequence[str], value: Callable[[Row, str], str]) -> str:
    rows = [
        [row["title"], *(value(row, proxy) for proxy in columns), target(row), row["verdict"] or "-"]
        for row in result["summary"]
    ]
    return _markdown(["", *columns, f"target for {SUBJECT}", ""], rows)


def _ratio_cell(row: Row, proxy: str) -> str:
    """Bold for the subject; rows with an absolute target show the value itself."""
    text = versus(row, proxy) if row["relative"] else f"{absolute(row, proxy)} {row['unit']}"
    return f"**{text}**" if proxy == SUBJECT else text


def _origin_line(result: Result) -> str:
    machine, versions = result["machine"], result["versions"]
    names = ", ".join(f"{name} {versions[name]}" for name in result["proxies"])
    return (
        f"Measured {result['date'][:10]} with `bench/compare`: {names}; "
        f"{machine['cores']} cores ({machine['cpu']}), Linux {machine['kernel']}, "
        f"{result['settings']['rounds']} rounds of {result['settings']['seconds']} s."
    )


def _placement(result: Result) -> str:
    cores = result["machine"]["placement"]
    return ", ".join(f"{role} on {'+'.join(map(str, numbers))}" for role, numbers in cores.items())


def _legend(result: Result) -> str:
    names = " and ".join(("nginx", "HAProxy")[: len(REFERENCES)])
    one = any(row.get("against") for row in result["summary"])
    return (
        f"Ratios to the better of {names} in the same run on the same core; lower is better. "
        + ("A row with `against` compares with that one alone. " if one else "")
        + "Memory is given as it is."
    )


def readme_part(result: Result) -> str:
    plot = "\n\n![CPU per request, ratio to the better of nginx and HAProxy](docs/benchmarks.svg)"
    table = _table(result, result["proxies"], _ratio_cell)
    more = "How and why: [docs/benchmarks.md](docs/benchmarks.md)."
    return f"{_legend(result)}\n\n{table}{plot}\n\n{_origin_line(result)} {more}"


def fill_readme(readme: Path, result: Result) -> str | None:
    """Replace what stands between the markers; what is wrong otherwise."""
    if not readme.is_file():
        return f"{readme.name} does not exist"
    text = readme.read_text()
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        return f"{readme.name} lacks the markers {BEGIN} and {END}"
    readme.write_text(f"{before}{BEGIN}\n{readme_part(result)}\n{END}{after}")
    return None


def _loads(result: Result) -> str:
    """How the works of this run were loaded; an older result has fewer of them."""
    return "".join(text for works, text in LOADS.items() if set(works) & set(result["works"]))


def docs_page(result: Result, source: str) -> str:
    absolutes = _markdown(
        ["", "unit", *result["proxies"]],
        [
            [
                row["title"],
                row["unit"],
                *(absolute(row, name) + _spread(row, name) for name in result["proxies"]),
            ]
            for row in result["summary"]
        ],
    )
    rate = result["settings"].get("latency_rate")
    rate_line = f"\nLatency was measured at {rate:.0f} requests/s for every proxy.\n" if rate else ""
    notes = "".join(f"- {note}\n" for note in [*result["notes"], *_problems(result)])
    # The loads differ between proxies by the port only: those of one proxy tell all.
    origins = {name for name in result["commands"] if name.partition(" ")[0] == "origin"}
    shown = {*result["proxies"], *origins, *(f"{work} {result['proxies'][0]}" for work in result["works"])}
    commands = "\n".join(f"{name}: {line}" for name, line in result["commands"].items() if name in shown)
    return PAGE.format(
        legend=_legend(result), ratios=_table(result, result["proxies"], _ratio_cell),
        origin=_origin_line(result), loads=_loads(result), absolutes=absolutes,
        rate=rate_line, notes=f"\nNotes of this run:\n\n{notes}" if notes else "",
        commands=commands, source=source, placement=_placement(result),
        tuning=TUNING[result["settings"]["tuning"]], connections=result["settings"]["connections"],
    )  # fmt: skip


TUNING = {
    "expert": "For large bodies they are tuned as an expert would: nginx\n"
    "  with large buffers, HAProxy splicing always, through large pipes.",
    "stock": "For large bodies they run with their defaults: small buffers\n"
    "  in nginx, no splicing in HAProxy.",
}

# Works of which one must be in the result, and what is to be said then.
LOADS = {
    ("tls", "tlsnew", "h2"): """\
- TLS is 1.3 with TLS_AES_256_GCM_SHA384 and a P-256 certificate. Handshakes are full ones: nothing is
  resumed, which the generator checks (wrk would resume nearly all of them).
""",
    ("h2c", "h2"): """\
- HTTP/2 is loaded by `h2load` with 8 connections of 32 streams; the origin gets HTTP/1.1, kept alive.
""",
    ("grpc",): """\
- gRPC is HTTP/2 without TLS on both sides, 8 connections of 32 streams with one small call each; the origin
  is `nghttpd`, which ends each answer with a grpc-status trailer.
""",
    ("ws",): """\
- A WebSocket message has 32 bytes; each connection sends the next one when the echo of the last has come.
""",
}

PAGE = """\
# Benchmarks

This page is written by `python -m bench.compare render {source}`; do not edit it.

{legend}

{ratios}

![CPU per request, ratio to the better of nginx and HAProxy](benchmarks.svg)

{origin}

## Absolute values, as context

They belong to this machine and this day. Only ratios carry over: another CPU, kernel or hypervisor moves all
proxies together. In parentheses the lowest and highest round.

{absolutes}
{rate}{notes}
## How it is measured

- One run starts all proxies; each work is measured in interleaved rounds (every proxy, then every proxy
  again), and the median of the rounds counts.
- The proxy has one core for itself, origin and load generator use others (here: {placement}).
- The origin is one nginx worker that answers small bodies from memory and larger ones with sendfile.
- CPU is user + system time of all processes of the proxy, from `/proc/PID/stat`, divided by the answered
  requests or by the MiB that arrived.
- Throughput works run `wrk` with {connections} connections; the latency work sends at a constant rate
  (a share of what the slowest of lbd, nginx and HAProxy can do) and measures from the time at which a
  request was due, so that a stall is not hidden.
{loads}\
- Memory per connection is the growth of RSS over idle keep-alive connections that each did one request.
- A sample with a single socket error or an answer other than 2xx is invalid, and with it the value.
- lbd runs with metrics on and the access log off. nginx and HAProxy keep connections to the origin alive
  and log nothing. {tuning} Every config is in the result file.

## Run it

    python -m bench.compare                # all works, about 12 minutes
    python -m bench.compare --quick        # a first impression

More in [bench/README.md](../bench/README.md). The commands of this run:

```
{commands}
```
"""


def render(result: Result, source: Path, root: Path) -> list[str]:
    """Write README's part, docs/benchmarks.md and the plot; returns what could not be done."""
    docs = root / "docs"
    docs.mkdir(exist_ok=True)
    shown = source.resolve()
    name = str(shown.relative_to(root)) if shown.is_relative_to(root) else shown.name
    (docs / "benchmarks.md").write_text(docs_page(result, name))
    problems = [fill_readme(root / "README.md", result), draw(result, docs / "benchmarks.svg")]
    return [problem for problem in problems if problem]
