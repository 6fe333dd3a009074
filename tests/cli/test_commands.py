"""Verbs that serve nothing: output, exit codes, and one sentence for every mistake of the user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lbd import __version__
from lbd.cli.main import VERBS

ROOT = Path(__file__).parents[2]
MINIMAL = ROOT / "conf" / "minimal.yaml"


def lbd(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "lbd", *arguments],
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("check", "-c"), ("check", "--config"), ("-t", "-c")])
def test_check_says_ok(arguments: tuple[str, ...]) -> None:
    done = lbd(*arguments, "conf/minimal.yaml", cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "conf/minimal.yaml: ok\n", "")


@pytest.mark.parametrize("arguments", [("check",), ("-t",), ("run",), ("config", "dump")])
def test_a_bad_configuration_is_78_with_the_errors_on_stderr(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(
        "listeners:\n  - {name: web, bind: ':80', cluster: app}\nworkers: 0\n", encoding="utf-8"
    )
    done = lbd(*arguments, "-c", "x.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines() == [
        "x.yaml:2:39: listeners.web.cluster: unknown cluster 'app'; there are no clusters",
        "x.yaml:3:10: workers: must be a whole number of at least 1, or auto",
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = lbd("check", "-c", "nope.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (78, "nope.yaml: no such file; name another with -c FILE\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("chek",), "there is no command 'chek'; did you mean 'check'?"),
        (("xyzzy",), "there is no command 'xyzzy'; commands are run, check"),
        (("-t", "check"), "or write: lbd check -c FILE"),
        (("-c", "x.yaml"), "or write: lbd check -c FILE"),
        (("run", "--nope"), "No such option"),
        (("proxy", "--listen", ":80"), "Missing option '--to'"),
        (("proxy", "--listen", "x", "--to", "h:1"), "'--listen': 'x' has no port; write host:port"),
        (("proxy", "--listen", ":80", "--to", "h"), "'--to': 'h' has no port; write host:port"),
        (
            ("proxy", "--listen", ":80", "--to", "h:1", "--to", "h:1"),
            "h:1 is already endpoint 0 of this cluster",
        ),
        (("proxy", "--listen", ":80", "--to", "h:1", "--balancer", "x"), "'x' is not one of 'round_robin'"),
        (("demo", "--listen", "example.com:80"), "'example.com' is not an IP address"),
    ],
)
def test_usage_errors_are_2(arguments: tuple[str, ...], sentence: str) -> None:
    done = lbd(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_verb() -> None:
    for arguments in ((), ("-h",), ("--help",)):
        done = lbd(*arguments)
        assert done.returncode == 0
        assert [verb for verb in VERBS if f"  {verb} " not in done.stdout] == []
        assert "...\n" not in done.stdout.partition("Commands:")[2]  # no description is cut


@pytest.mark.parametrize(
    "verb", [[verb] for verb in VERBS] + [["config", "dump"], ["config", "schema"], ["config", "reference"]]
)
def test_every_verb_has_help_with_an_example(verb: list[str]) -> None:
    done = lbd(*verb, "--help")
    assert done.returncode == 0
    assert f"Example: lbd {' '.join(verb)}" in done.stdout


def test_version() -> None:
    assert lbd("--version").stdout == f"lbd {__version__}\n"
    lines = lbd("version").stdout.splitlines()
    python = ".".join(map(str, sys.version_info[:3]))
    assert lines[0] == f"lbd {__version__}"
    assert lines[1].startswith(f"python {python}")
    assert lines[2].startswith("uvloop ")
    found = json.loads(lbd("version", "--json").stdout)
    assert found["lbd"] == __version__
    assert found["python"].startswith(python)
    assert found["uvloop"]


def test_config_dump_loads_back(tmp_path: Path) -> None:
    first = lbd("config", "dump", "-c", str(MINIMAL))
    assert "drain_timeout: 30s" in first.stdout
    (tmp_path / "dumped.yaml").write_text(first.stdout, encoding="utf-8")
    assert lbd("config", "dump", "-c", str(tmp_path / "dumped.yaml")).stdout == first.stdout


def test_config_schema_is_json() -> None:
    schema = json.loads(lbd("config", "schema").stdout)
    assert "clusters" in schema["properties"]


def test_config_reference_is_hidden_but_there() -> None:
    assert "reference" not in lbd("config", "--help").stdout
    assert "| `drain_timeout` | `30s` |" in lbd("config", "reference").stdout
