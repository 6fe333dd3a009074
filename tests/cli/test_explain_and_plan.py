"""`lbd explain` and `lbd plan`, of files and of a running lbd."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from admin.asking import JSON, ask
from cli.test_commands import lbd
from harness.lbd import Lbd
from health.watching import Named

OLD = """
state_directory: <state>
admin: {bind: "127.0.0.1:0", token: swordfish-swordfish}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {name: api, match: {path: /v1/*}, cluster: app}
      - {name: rest, cluster: keyed}
clusters:
  - {name: app, endpoints: [{address: <one>, name: one}, {address: <two>, name: two}]}
  - {name: keyed, balancer: maglev, endpoints: [{address: <one>, name: a}, {address: <two>, name: b}]}
"""


def place(text: str, **places: object) -> str:
    for name, where in {"one": "127.0.0.1:1", "two": "127.0.0.1:2", "state": "/here", **places}.items():
        text = text.replace(f"<{name}>", str(where))
    return text


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "old.yaml").write_text(place(OLD))
    return tmp_path / "old.yaml"


def planned(old: Path, *edits: tuple[str, str], code: int = 2) -> Any:
    text = old.read_text()
    for before, after in edits:
        assert before in text, before
        text = text.replace(before, after, 1)
    (old.parent / "new.yaml").write_text(text)
    done = lbd("plan", "new.yaml", "--against", "old.yaml", "--json", cwd=old.parent)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_the_text_of_explain(old: Path) -> None:
    done = lbd("explain", "-c", "old.yaml", "--file", "http://x/v1/users", "-H", "X-A: b", cwd=old.parent)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "GET http://x/v1/users from 127.0.0.1"
    assert lines[1] == "listener web (127.0.0.1:0, http): the only one that speaks http  old.yaml:5"
    assert "  ✓ route api -> cluster app  old.yaml:8" in lines
    assert "  · route rest -> cluster keyed: route api comes first  old.yaml:9" in lines
    assert "✓ cluster app  old.yaml:11" in lines
    assert lines[-1] == "-> app/one, then two, one" or lines[-1].startswith("-> app/one, then two")
    assert "\x1b" not in done.stdout


def test_a_curl_line_and_what_of_it_is_not_understood(old: Path) -> None:
    done = lbd(
        "explain",
        "-c",
        "old.yaml",
        "--file",
        "--json",
        "--",
        "curl",
        "-XPOST",
        "--hsts",
        "http://x/v1/",
        cwd=old.parent,
    )
    assert done.returncode == 0
    assert done.stderr == "Warning: of the curl line, --hsts is not taken into account\n"
    found = json.loads(done.stdout)
    assert found["request"]["method"] == "POST" and found["route"]["name"] == "api"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--file", "http://x:99/"), 1, "Error: no http listener is bound to port 99; name one of web\n"),
        (("GET", "http://x/", "more"), 2, "write [METHOD] URL, or a curl command line behind --"),
        (("--file", "-H", "nonsense", "http://x/"), 2, "'nonsense' is no field; write NAME:VALUE"),
        (("--", "curl", "-s"), 2, "the curl line has no URL"),
        (("--id", "1f", "http://x/"), 2, "no URL and no --file beside it"),
    ],
)
def test_mistakes_of_the_user(old: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = lbd("explain", "-c", "old.yaml", *arguments, cwd=old.parent)
    assert done.returncode == code and said in done.stderr and done.stdout == ""


def test_nothing_changes(old: Path) -> None:
    found = planned(old, code=0)
    assert found["changed"] is False
    done = lbd("plan", "old.yaml", "--against", "old.yaml", cwd=old.parent)
    assert (done.returncode, done.stdout) == (0, "nothing changes\n")


def test_what_changes_in_the_text(old: Path) -> None:
    text = old.read_text()
    for before, after in (
        ("name: rest, cluster: keyed", "name: rest, cluster: app"),
        ("name: two}", "name: two, weight: 0}"),
        ('bind: "127.0.0.1:0"\n    routes', 'bind: "127.0.0.1:8099"\n    routes'),
        ("balancer: maglev", "balancer: ring_hash"),
        ("/here", "/elsewhere"),
        ("swordfish-swordfish", "codfish-codfish-codfish"),
    ):
        assert before in text
        text = text.replace(before, after, 1)
    (old.parent / "new.yaml").write_text(text)
    done = lbd("plan", "new.yaml", "--against", "old.yaml", cwd=old.parent)
    assert done.returncode == 2, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    for expected in (
        "~ admin.token: another secret",
        "~ state_directory: /here -> /elsewhere",
        "state_directory cannot change while lbd runs: a reload refuses it, restart lbd for that",
        "+ binds 127.0.0.1:8099",
        "- binds 127.0.0.1:0",
        "~ route rest: keyed -> app",
        "~ endpoint two: weight 1 -> 0, gets nothing new",
        "~ balancer: maglev -> ring_hash",
    ):
        assert expected in lines, done.stdout
    assert "[unused-cluster]" in done.stdout
    assert "fish" not in done.stdout


def test_the_share_of_keys_that_move(old: Path) -> None:
    added = ("name: b}]", "name: b}, {address: '127.0.0.1:7', name: c}]")
    (cluster,) = planned(old, added)["clusters"]
    assert 0.30 <= cluster["keys_moved"] <= 0.40, "a third of them, and few more"
    (cluster,) = planned(old, ("balancer: maglev", "balancer: {name: maglev, key: path}"))["clusters"]
    assert cluster["keys_moved"] == 1.0
    (cluster,) = planned(old, ("name: app,", "name: app, max_requests: 7,"))["clusters"]
    assert cluster["keys_moved"] is None
    (cluster,) = planned(old, ("name: keyed,", "name: keyed, max_requests: 7,"))["clusters"]
    assert cluster["keys_moved"] is None


def test_a_failed_test_is_78(old: Path) -> None:
    tests = "tests: [{name: t, request: 'http://x/v1/', expect: {route: rest}}]\n"
    found = planned(old, ("clusters:", f"{tests}clusters:"), code=78)
    assert found["tests"]["count"] == 1
    assert "expected route rest, got route api" in found["tests"]["failed"][0]


def test_a_bad_file_is_78(old: Path) -> None:
    (old.parent / "new.yaml").write_text("listeners: 7\n")
    done = lbd("plan", "new.yaml", "--against", "old.yaml", cwd=old.parent)
    assert done.returncode == 78 and "new.yaml:1:12: listeners: must be a list" in done.stderr


def run(server: Lbd, *arguments: str) -> subprocess.CompletedProcess[str]:
    host, port = server.ports["admin"]
    return lbd(*arguments, "-c", "lbd.yaml", "--admin", f"{host}:{port}", "--json", cwd=server.directory)


def test_a_running_lbd_is_asked(tmp_path: Path) -> None:
    with Named("one") as one, Named("two") as two, Lbd(OLD, one=one, two=two, state=tmp_path) as server:
        done = run(server, "explain", "http://x/v1/")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["listener"]["at"].endswith("lbd.yaml:6")
        before = found["outcome"]["endpoint"]
        for _ in range(3):
            assert json.loads(run(server, "explain", "http://x/v1/").stdout)["outcome"]["endpoint"] == before
        assert server.ask(b"GET /v1/ HTTP/1.1\r\nHost: x\r\n\r\n", "web").body == before.encode()
        assert json.loads(run(server, "explain", "http://x/v1/").stdout)["outcome"]["endpoint"] != before

        done = run(server, "explain", "--id", "1f")
        assert done.returncode == 1 and "no longer, in the recorder" in done.stderr
        request_id = json.loads(run(server, "recorder").stdout.splitlines()[0])["request_id"]
        done = run(server, "explain", "--id", request_id)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["request"]["target"] == "/v1/"
        done = run(server, "explain", "http://x:99/")
        assert done.returncode == 1 and "no http listener is bound to port 99" in done.stderr

        done = run(server, "plan", "lbd.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        text = (server.directory / "lbd.yaml").read_text()
        (server.directory / "new.yaml").write_text(
            text.replace("name: two}", "name: two, weight: 0}").replace("name: web", "name: www")
        )
        with server.connect("web"):
            done = run(server, "plan", "new.yaml")
        assert done.returncode == 2, done.stderr
        found = json.loads(done.stdout)
        assert [(one["name"], one["kind"]) for one in found["listeners"]] == [
            ("www", "added"),
            ("web", "removed"),
        ]
        assert found["listeners"][1]["connections"] >= 1
        assert found["settings"] == [], "secrets that are masked are unknown, and so unchanged"
        (endpoint,) = found["clusters"][0]["endpoints"]
        assert endpoint["drained"] and endpoint["active"] == 0


def test_the_configuration_in_force_over_the_api(tmp_path: Path) -> None:
    token = "Authorization: Bearer swordfish-swordfish"
    with Named("one") as one, Named("two") as two, Lbd(OLD, one=one, two=two, state=tmp_path) as server:
        first = ask(server, "GET", "/api/config", token)
        assert first.status == 200 and b"swordfish" not in first.body
        assert first.json()["admin"]["token"] == "********"
        (tag,) = first.all("etag")
        assert ask(server, "GET", "/api/config", token, f"If-None-Match: {tag}").status == 304
        assert ask(server, "GET", "/api/config", token, 'If-None-Match: "other"').status == 200
        assert ask(server, "GET", "/api/config").status == 401
        (listener,) = ask(server, "GET", "/api/listeners", token).json()
        assert (listener["name"], listener["protocol"], listener["connections"]) == ("web", "http", 0)
        for body, status in (
            (b"{", 400),
            (b'{"colour": 1}', 422),
            (b'{"url": 7}', 422),
            (b'{"url": "http://x/", "fields": [["a\\u0000", "b"]]}', 422),
            (b'{"url": "http://x/"}', 200),
        ):
            assert ask(server, "POST", "/api/explain", token, JSON, body=body).status == status, body
        assert ask(server, "POST", "/api/explain", JSON, body=b"{}").status == 401
        assert ask(server, "POST", "/api/explain", token, body=b"{}").status == 415
