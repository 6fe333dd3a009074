"""`lbd check`: errors, failed tests, warnings, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.test_commands import ROOT, lbd

GOOD = """
listeners:
  - {name: web, bind: ':80', routes: [{name: a, match: {path: /a}, cluster: app}]}
clusters:
  - {name: app, endpoints: ['10.0.0.1:1']}
"""
TESTS = "tests: [{name: t, request: 'http://x/a', expect: {route: a}}]\n"
UNUSED = "  - {name: spare, endpoints: ['10.0.0.2:1']}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.yaml"


def test_it_runs_the_tests_of_the_configuration(file: Path) -> None:
    file.write_text(GOOD + TESTS)
    done = lbd("check", "-c", "x.yaml", cwd=file.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x.yaml: ok, 1 tests passed\n", "")


@pytest.mark.parametrize("arguments", [("check",), ("check", "--strict"), ("-t",)])
def test_a_failed_test_is_like_an_error(file: Path, arguments: tuple[str, ...]) -> None:
    file.write_text(GOOD + TESTS.replace("http://x/a", "http://x/b"))
    done = lbd(*arguments, "-c", "x.yaml", cwd=file.parent)
    assert (done.returncode, done.stdout) == (78, "")
    assert (
        done.stderr == "x.yaml:6:58: tests.t.expect.route: expected route a, got no route (GET http://x/b)\n"
    )


def test_warnings_change_nothing_but_with_strict(file: Path) -> None:
    file.write_text(GOOD + UNUSED)
    said = "nothing leads here; remove it, or send a route or a fallback to it"
    warning = f"x.yaml:6:5: clusters.spare: warning: {said} [unused-cluster]\n"
    for arguments, code in ((("check",), 0), (("-t",), 0), (("check", "--strict"), 1)):
        done = lbd(*arguments, "-c", "x.yaml", cwd=file.parent)
        assert (done.returncode, done.stderr) == (code, warning)
        assert done.stdout == "x.yaml: ok, 1 warnings\n"


def test_what_is_ignored_is_no_warning(file: Path) -> None:
    file.write_text(GOOD + UNUSED + "lint: {ignore: [unused-cluster]}\n")
    done = lbd("check", "--strict", "-c", "x.yaml", cwd=file.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x.yaml: ok\n", "")


@pytest.mark.parametrize("example", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_passes_its_own_tests(example: Path) -> None:
    done = lbd("check", "--strict", "-c", str(example))
    assert (done.returncode, done.stderr) == (0, "")
