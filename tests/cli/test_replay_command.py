"""`lbd replay`: of what a real lbd has recorded, of files whole and broken, as text and as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from cli.test_commands import lbd
from harness.lbd import ROOT, Lbd
from harness.messages import get, post
from harness.terminal import Terminal
from harness.waiting import eventually
from health.watching import Named

CONFIG = """
state_directory: state
admin: {bind: "127.0.0.1:0", token: swordfish-swordfish}
recorder: {size: 2000, query: true}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {name: beta, match: {path: /v1/*, header: {x-beta: "yes"}}, cluster: two}
      - {name: api, match: {path: /v1/*}, cluster: one}
      - {name: up, match: {path: /up}, cluster: one}
      - {name: gone, match: {path: /gone}, respond: {status: 410}}
      - {name: rest, cluster: one}
clusters:
  - {name: one, endpoints: [{address: <one>, name: a}, {address: <other>, name: b}]}
  - {name: two, endpoints: [{address: <two>, name: c}]}
"""
REQUESTS = (
    get("/v1/users", "X-Beta: yes"),
    get("/v1/users"),
    get("/?token=swordfish"),
    get("/gone"),
    post("/up", b"12345678"),
    get("/" + "p" * 300),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Lbd]:
    with Named("a") as a, Named("b") as b, Named("c") as c, Lbd(CONFIG, one=a, other=b, two=c) as server:
        with server.connect() as client:
            for request in REQUESTS:
                assert client.ask(request).status in (200, 410)
        eventually(lambda: len(recording(server).splitlines()) == len(REQUESTS), "all are recorded")
        (server.directory / "recording").write_text(recording(server))
        yield server


def recording(server: Lbd) -> str:
    done = lbd("recorder", "--json", *where(server), cwd=server.directory)
    assert done.returncode == 0, done.stderr
    return done.stdout


def where(server: Lbd) -> tuple[str, ...]:
    host, port = server.ports["admin"]
    return "-c", "lbd.yaml", "--admin", f"{host}:{port}"


def new(server: Lbd, *edits: tuple[str, str]) -> str:
    text = (server.directory / "lbd.yaml").read_text()
    for before, after in edits:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    (server.directory / "new.yaml").write_text(text)
    return "new.yaml"


def replay(server: Lbd, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lbd("replay", *arguments, *where(server), cwd=server.directory)


def from_file(server: Lbd, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """No lbd is asked."""
    return subprocess.run(
        [sys.executable, "-m", "lbd", "replay", *arguments, "--against", "lbd.yaml"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=server.directory,
        timeout=60, input=stdin, check=False,
    )  # fmt: skip


HOSTILE = '{"protocol": "tcp", "listener": "web", "status": "\\u001b[31m"}'
MOVED = ("name: api, match: {path: /v1/*}, cluster: one", "name: api, match: {path: /v1/*}, cluster: two")
REDIRECT = (
    "{name: gone, match: {path: /gone}, respond: {status: 410}}",
    "{name: gone, match: {path: /gone}, respond: {status: 301, headers: {location: https://y.test/}}}",
)
LIMIT = ("match: {path: /up}, cluster", "match: {path: /up}, limits: {body: 5}, cluster")  # fmt: skip


def test_of_a_running_lbd(server: Lbd) -> None:
    done = replay(server, new(server, MOVED, REDIRECT, LIMIT), "--json")
    assert (done.returncode, done.stderr) == (2, "")
    assert "swordfish" not in done.stdout, "neither the token of lbd nor the query of a request"
    found = json.loads(done.stdout)
    assert set(found) == {
        "requests", "first", "last", "counts", "changes", "undecided", "deviations", "unusable", "left_out"
    }  # fmt: skip
    assert found["counts"] == {
        "same": 2, "changes": 3, "undecided": 1, "deviations": 0, "unusable": 0
    }  # fmt: skip
    assert [(row["kind"], row["count"]) for row in found["changes"]] == [
        ("refused", 1), ("answer", 1), ("cluster", 1)
    ]  # fmt: skip
    refused, answer, cluster = found["changes"]
    assert refused["new"] | {"at": ""} == {
        "kind": "refused", "route": "up", "status": 413, "reason": "body_too_large", "at": ""
    }  # fmt: skip
    assert answer["new"]["location"] == "https://y.test/"
    assert (cluster["old"]["cluster"], cluster["new"]["cluster"]) == ("one", "two")
    assert cluster["old"]["at"] == "lbd.yaml:11" and cluster["new"]["at"] == "new.yaml:11"
    assert cluster["examples"][0]["request_id"] in recording(server)
    (row,) = found["undecided"]
    assert row["needs"] == ["the path beyond 192 bytes"]


def test_the_text(server: Lbd) -> None:
    done = replay(server, new(server, MOVED))
    assert done.returncode == 2, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("6 requests replayed, recorded from 20")
    assert lines[1:4] == ["  4  the same", "  1  differ", "  1  cannot be decided"]
    assert lines[5:8] == [
        "1 go to another cluster",
        "  old  web: route api -> cluster one  lbd.yaml:11",
        "  new  web: route api -> cluster two/c  new.yaml:11",
    ]
    assert lines[8].endswith("  GET example.test/v1/users")
    assert "1 cannot be decided: not recorded is the path beyond 192 bytes" in lines
    assert "\x1b" not in done.stdout


def test_nothing_differs(server: Lbd) -> None:
    done = replay(server, "lbd.yaml")
    assert done.returncode == 0 and done.stdout.splitlines()[1:3] == ["  5  the same", "  0  differ"]
    assert replay(server, "lbd.yaml", "--strict").returncode == 2, "one cannot be decided"
    weight = replay(server, new(server, ("name: a}", "name: a, weight: 3}")), "--json")
    assert weight.returncode == 2
    (row, *_) = json.loads(weight.stdout)["changes"]
    assert (row["kind"], row["moved"]) == ("balance", 0.25)


def test_what_is_told_can_be_narrowed_down(server: Lbd) -> None:
    name = new(server, MOVED)
    found = json.loads(replay(server, name, "--only", "changed", "--json").stdout)
    assert found["changes"] and not {"undecided", "deviations", "unusable"} & set(found)
    done = replay(server, name, "--only", "undecided")
    assert "the path beyond" in done.stdout and "go to another cluster" not in done.stdout
    newest = json.loads(replay(server, name, "--limit", "2", "--json").stdout)
    assert (newest["requests"], newest["counts"]["changes"]) == (2, 0), "the last two of them"
    assert json.loads(replay(server, name, "--since", "1h", "--json").stdout)["requests"] == len(REQUESTS)
    done = replay(server, name, "--since", "2100-01-01T00:00:00Z")
    assert (done.returncode, done.stdout) == (0, "nothing is recorded\n")


def test_a_configuration_that_has_changed_since_is_noticed(server: Lbd) -> None:
    """What took `api` is said to go to another cluster by the configuration that is called the old one."""
    name = new(server, MOVED)
    done = replay(server, name, "--against", name, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["deviations"]
    assert row["why"] == "a fallback, or another configuration"
    assert row["recorded"] == {"route": "api", "cluster": "one"} and row["old"]["cluster"] == "two"


def test_a_recording_is_kept_and_used_without_a_running_lbd(server: Lbd) -> None:
    name = new(server, MOVED)
    kept = from_file(server, name, "--from", "recording", "--json")
    assert kept.returncode == 2, kept.stderr
    live = json.loads(replay(server, name, "--json").stdout)
    assert json.loads(kept.stdout)["changes"] == live["changes"]
    with_running = json.loads(replay(server, name, "--from", "recording", "--json").stdout)
    assert with_running["changes"] == live["changes"]
    text = (server.directory / "recording").read_text()
    done = from_file(server, name, "--from", "-", "--json", stdin=text)
    assert done.stdout == kept.stdout and done.returncode == 2
    assert from_file(server, "lbd.yaml", "--from", "recording").returncode == 0
    first = json.loads(from_file(server, name, "--from", "recording", "-n", "1", "--json").stdout)
    assert first["requests"] == 1
    done = from_file(server, name, "--from", "recording", "--since", "2100-01-01")
    assert (done.returncode, done.stdout) == (0, "nothing is recorded\n")


def test_hostile_lines_are_counted_with_their_numbers(server: Lbd) -> None:
    good = (server.directory / "recording").read_text().splitlines()[1]
    lines = [
        good,
        "",
        "{",
        "[" * 60_000,
        "x" * 70_000,
        '{"protocol": "HTTP/1.1"}',
        HOSTILE,
        good,
        good[:50],
    ]
    done = from_file(server, new(server, MOVED), "--from", "-", "--json", stdin="\n".join(lines))
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    assert (found["requests"], found["counts"]["unusable"]) == (2, 6)
    said = {row["why"]: row["lines"] for row in found["unusable"]}
    assert said["is not JSON"] == [3, 4]
    assert said["is longer than 65536 bytes"] == [5]
    assert said["is not whole: it ends without an end of line"] == [9]
    text = from_file(server, "new.yaml", "--from", "-", stdin="\n".join(lines)).stdout
    assert "2 x no record: is not JSON (line 3, 4)" in text and "\x1b" not in text


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (("lbd.yaml", "--from", "-"), "hello\n", 1, "Error: -:1: is not JSON; no line is a record"),
        (("lbd.yaml", "--from", "nowhere"), "", 1, "Error: nowhere: No such file or directory"),
        (("lbd.yaml", "--from", "."), "", 1, "Error: .: Is a directory"),
        (("bad.yaml", "--from", "-"), "", 78, "bad.yaml:1:12: listeners: must be a list"),
        (("nowhere.yaml", "--from", "-"), "", 78, "nowhere.yaml: no such file"),
        (("lbd.yaml", "--since", "yesterday"), "", 2, "'yesterday' is neither a duration such as 15m"),
        (("lbd.yaml", "--limit", "0"), "", 2, "0 is not in the range x>=1"),
        (("lbd.yaml", "--only", "all"), "", 2, "'all' is not one of 'changed', 'undecided', 'deviating'"),
        ((), "", 2, "Missing argument 'NEW'"),
    ],
)
def test_mistakes(server: Lbd, arguments: tuple[str, ...], stdin: str, code: int, said: str) -> None:
    (server.directory / "bad.yaml").write_text("listeners: 7\n")
    done = from_file(server, *arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, "") and said in done.stderr


def test_a_bad_old_configuration_is_78_and_no_lbd_is_1(server: Lbd) -> None:
    (server.directory / "bad.yaml").write_text("listeners: 7\n")
    done = replay(server, "lbd.yaml", "--against", "bad.yaml", "--from", "recording")
    assert done.returncode == 78 and "bad.yaml:1:12" in done.stderr
    done = lbd("replay", "lbd.yaml", "--admin", "127.0.0.1:1", cwd=server.directory)
    assert done.returncode == 1 and "no lbd answers at 127.0.0.1:1" in done.stderr


def test_a_recorder_that_is_off_is_said() -> None:
    off = CONFIG.replace("recorder: {size: 2000, query: true}", "recorder: off")
    with Named("one") as one, Lbd(off, one=one, other="127.0.0.1:1", two=one) as server:
        done = replay(server, "lbd.yaml")
        assert (done.returncode, done.stderr) == (1, "Error: the recorder is off\n")


def test_the_help_has_an_example() -> None:
    done = lbd("replay", "--help")
    assert done.returncode == 0 and "Example: lbd replay new.yaml" in done.stdout
    assert "--from" in done.stdout and "--against, --old" in done.stdout


def test_more_than_one_page_is_read() -> None:
    """lbd gives a thousand at once; each is replayed once."""
    count = 1500
    with Named("one") as one, Lbd(CONFIG, one=one, other="127.0.0.1:1", two=one) as server:
        with server.connect() as client:
            client.send(b"".join(get(f"/gone?{i}") for i in range(count)))
            for _ in range(count):
                client.read_response()
        found = eventually(lambda: _of_all(server, count), "all are recorded")
        assert found["changes"][0]["count"] == count
        done = replay(server, new(server, REDIRECT), "--json", "--limit", "1200")
        assert json.loads(done.stdout)["requests"] == 1200


def _of_all(server: Lbd, count: int) -> Any:
    found = json.loads(replay(server, new(server, REDIRECT), "--json").stdout)
    return found if found["requests"] == count else None


def test_on_a_terminal_it_says_how_far_it_is(server: Lbd) -> None:
    """The recording comes through a pipe that goes on until something is said."""
    name, pipe = new(server, MOVED), server.directory / "pipe"
    os.mkfifo(pipe)
    line = (server.directory / "recording").read_bytes().splitlines(keepends=True)[1]
    files = [str(server.directory / one) for one in (name, "lbd.yaml")]
    command = [sys.executable, "-m", "lbd", "replay", files[0], "--against", files[1], "--from", str(pipe)]
    with Terminal(command, {"PYTHONPATH": str(ROOT)}) as terminal:
        with pipe.open("wb", buffering=0) as file:

            def goes_on() -> bool:
                file.write(line)
                return "requests replayed" in terminal.screen

            eventually(goes_on, "it says how many")
        assert terminal.end() == 2
        screen = terminal.screen
    assert "go to another cluster" in screen and screen.count("requests replayed") == 1, screen
