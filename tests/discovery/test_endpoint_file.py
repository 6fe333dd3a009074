"""Watched files of endpoints: what they may hold, what is wrong with them, when they are read."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from lbd.config.discovery import Discover
from lbd.config.endpoint_file import MOST_ENDPOINTS, load_endpoints
from lbd.config.errors import ConfigErrors
from lbd.discovery.file import FileSource
from lbd.discovery.member import Member

GOOD = "- 10.0.0.1:80\n- {address: 'b.test:81', weight: 3, name: b, labels: {zone: b}}\n"
FOUND = (Member("10.0.0.1:80"), Member("b.test:81", 3, 0, {"zone": "b"}, "b"))


class Means:
    """Reads at once, in the loop."""

    @staticmethod
    async def off_loop(call: Any, *args: Any) -> Any:
        return call(*args)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "endpoints.yaml"
    path.write_text(GOOD)
    return path


def source_of(file: Path, **settings: Any) -> FileSource:
    return FileSource(Discover(file=str(file), **settings), Means)  # type: ignore[arg-type]


def look(source: FileSource) -> Any:
    return asyncio.run(source.look())


def touch(path: Path, seconds: int) -> None:
    """Another mtime, whatever the clock's resolution."""
    os.utime(path, ns=(seconds * 10**9, seconds * 10**9))


def members(source: FileSource) -> Any:
    """What the next looks find: a change is seen by the first and read by the second."""
    return [
        outcome.found for outcome in (look(source), look(source), look(source)) if outcome.found is not None
    ]


def test_list_and_mapping_and_json(file: Path, tmp_path: Path) -> None:
    assert look(source_of(file)).found == FOUND
    file.write_text(f"endpoints:\n{GOOD}")
    assert look(source_of(file)).found == FOUND
    other = tmp_path / "endpoints.json"
    other.write_text(
        '{"endpoints":\t["10.0.0.1:80",\n'
        ' {"address": "b.test:81", "weight": 3, "name": "b", "labels": {"zone": "b"}}]}'
    )
    assert look(source_of(other)).found == FOUND


def test_labels_beside_the_file_are_defaults(file: Path) -> None:
    found = look(source_of(file, labels={"zone": "a", "rack": "1"})).found
    assert [dict(one.labels) for one in found] == [{"zone": "a", "rack": "1"}, {"zone": "b", "rack": "1"}]


def test_nothing_is_read_while_nothing_changes(file: Path) -> None:
    source = source_of(file)
    assert members(source) == [FOUND, FOUND]  # at once, and once more when it has been quiet
    file.write_bytes(b"\xff" * len(GOOD))
    touch(file, 1)
    first = file.stat()
    assert look(source).problem is None  # seen to have changed, not read
    file.write_text(GOOD)  # still being written
    touch(file, 2)
    assert first.st_mtime_ns != file.stat().st_mtime_ns
    assert look(source).found is None and look(source).found == FOUND and look(source).found is None


def test_rename_over_it(file: Path, tmp_path: Path) -> None:
    source = source_of(file)
    members(source)
    other = tmp_path / "new"
    other.write_text("[]\n")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    assert members(source) == [()]


def test_swapped_link(file: Path, tmp_path: Path) -> None:
    """As Kubernetes does with a ConfigMap."""
    link, other = tmp_path / "link", tmp_path / "other"
    other.write_text("[1.2.3.4:5]\n")
    link.symlink_to(file)
    source = source_of(link)
    members(source)
    fresh = tmp_path / "fresh"
    fresh.symlink_to(other)
    fresh.replace(link)
    assert members(source) == [(Member("1.2.3.4:5"),)]


def test_error_is_placed_and_counted_once(file: Path) -> None:
    source = source_of(file)
    members(source)
    file.write_text("- 10.0.0.1:80\n- {address: nonsense, wight: 2}\n")
    outcomes = [look(source) for _ in range(5)]
    assert all(outcome.found is None for outcome in outcomes)
    assert [outcome.failed for outcome in outcomes] == [False, True, False, False, False]
    problem = outcomes[-1].problem
    assert (
        f"{file}:2:13: endpoints[1].address: " in problem and f"{file}:2:23: endpoints[1].wight: " in problem
    )
    file.write_text(GOOD)
    assert members(source) == [FOUND] and look(source).problem is None


def test_file_that_is_bad_from_the_start_is_counted_once(file: Path) -> None:
    file.write_text("- x\n")
    source = source_of(file)
    assert [look(source).failed for _ in range(4)] == [True, False, False, False]


def test_file_comes_and_goes(file: Path) -> None:
    file.unlink()
    source = source_of(file)
    outcome = look(source)
    assert outcome.found is None and outcome.failed and "No such file or directory" in outcome.problem
    file.write_text(GOOD)
    assert members(source) == [FOUND]
    file.unlink()
    assert members(source) == [] and "No such file" in look(source).problem


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "fifo"])
def test_what_is_no_file(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "it"
    make(path)
    outcome = look(source_of(path))
    assert outcome.found is None and "cannot be read" in outcome.problem


def test_unreadable_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "loop"
    path.symlink_to(path)
    assert "Too many levels of symbolic links" in look(source_of(path)).problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty; write [] for no endpoints"),
        ("# nothing\n", "is empty; write [] for no endpoints"),
        ("10.0.0.1:80\n", "must be a list of endpoints"),
        ("endpoints: {}\n", "must be a list"),
        ("hosts: []\n", "unknown setting 'hosts'"),
        ("- [1]\n", "must be a mapping of settings"),
        ("- 10.0.0.1:80\n- 10.0.0.1:80\n", "10.0.0.1:80 is already endpoint 0 of this file"),
        ("- {address: 'a:1', name: x}\n- {address: 'b:1', name: x}\n", "already an endpoint named 'x'"),
        ("- ${HOME}:80\n", "environment variable HOME is not set"),
        ("- {address: 'a:1', weight: -1}\n", "must be at least 0"),
        ("- a:1\n  b\n - c\n", "yaml"),
    ],
)
def test_errors(text: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load_endpoints(text.encode(), "some.yaml")
    assert problem in str(caught.value) and str(caught.value).startswith("some.yaml")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ConfigErrors, match=r"some\.yaml:2:1: not UTF-8"):
        load_endpoints(b"- a:1\n- \xff\n", "some.yaml")


def test_bounds() -> None:
    most = "".join(f"- h{n}:1\n" for n in range(MOST_ENDPOINTS)).encode()
    assert len(load_endpoints(most, "x")) == MOST_ENDPOINTS
    with pytest.raises(ConfigErrors, match="1001 endpoints; at most 1000 are taken"):
        load_endpoints(most + b"- more:1\n", "x")
    with pytest.raises(ConfigErrors, match="larger than 1 MiB"):
        load_endpoints(b"#" * (2**20 + 1), "x")


def test_empty_list_is_no_endpoints() -> None:
    assert load_endpoints(b"[]", "x") == () == load_endpoints(b"endpoints: []", "x")
