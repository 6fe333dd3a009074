"""Access log lines with hostile bytes, through a running lbd; and the writer alone: reopening, full disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.lbd import Lbd
from harness.messages import head
from harness.waiting import eventually

from lbd.engine.accesslog import LogWriter

CONFIG = """
listeners:
  - {name: json, bind: "127.0.0.1:0", routes: [{name: all, respond: {status: 204}}],
     access_log: {to: json.log, format: json}}
  - {name: combined, bind: "127.0.0.1:0", routes: [{name: all, respond: {status: 204}}],
     access_log: {to: combined.log, format: combined}}
"""
HOSTILE = {
    "quote": 'a"b',
    "backslash": "a\\b",
    "backslash at the end": "a\\",
    "escaped quote": '\\"',
    "tab": "a\tb",
    "high bytes": "\x80\xff",
    "UTF-8": "\xc3\xbc",
    "JSON": '","status":200,"x":"',
    "braces": "}{",
    "percent": "%0a%s",
    "brackets": "] 127.0.0.1 - -",
    "empty": "",
}
COMBINED = re.compile(
    r'127\.0\.0\.1 - - \[[^]]+\] "GET /\S+ HTTP/1\.1" 204 0 "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"'
)


LONG = {f"{byte!a} {length}": byte * length for byte in '"\\\x80' for length in (2000, 2048, 2049, 7000)}
VALUES = {**HOSTILE, **LONG}
MARK = re.compile(r"/mark-([0-9a-z]+)")
Lines = dict[str, dict[str, str]]  # listener -> mark -> line


@pytest.fixture(scope="module")
def lines() -> Iterator[Lines]:
    """One request for each value and listener, and one without fields; every line, once it is written."""
    with Lbd(CONFIG) as lbd:
        yield {listener: logged(lbd, listener) for listener in ("json", "combined")}


def logged(lbd: Lbd, listener: str) -> dict[str, str]:
    with lbd.connect(listener) as client:
        for number, value in enumerate(VALUES.values()):
            client.ask(
                head(
                    f"GET /mark-{number} HTTP/1.1",
                    "Host: a.test",
                    f"User-Agent: {value}",
                    f"Referer: {value}",
                )
            )
        client.ask(head("GET /mark-absent HTTP/1.1", "Host: a.test"))
    file = lbd.directory / f"{listener}.log"
    text = eventually(lambda: (text := file.read_text()).count("\n") > len(VALUES) and text, "all lines")
    found = {match[1]: line for line in str(text).splitlines() if (match := MARK.search(line))}
    assert len(found) == len(VALUES) + 1 == str(text).count("\n")
    return found


def read(value: str) -> str:
    """UTF-8 where it is that, else byte by byte."""
    data = value.encode("latin-1")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return value


@pytest.mark.parametrize("name", VALUES)
def test_json_lines_stay_json(lines: Lines, name: str) -> None:
    """Long values are cut; whatever is in them, a line is one JSON object."""
    line = json.loads(lines["json"][str(list(VALUES).index(name))])
    assert line["user_agent"] == line["referer"] == read(VALUES[name][:2048])
    assert line["status"] == 204
    assert {
        "time",
        "request_id",
        "client",
        "method",
        "host",
        "target",
        "route",
        "listener",
        "duration",
    } <= set(line)


@pytest.mark.parametrize("name", VALUES)
def test_combined_lines_keep_their_fields(lines: Lines, name: str) -> None:
    line = lines["combined"][str(list(VALUES).index(name))]
    match = COMBINED.fullmatch(line)
    assert match and line.isascii(), line
    assert [json.loads(f'"{field}"') for field in match.groups()] == [VALUES[name][:2048]] * 2


def test_absent_fields(lines: Lines) -> None:
    match = COMBINED.fullmatch(lines["combined"]["absent"])
    assert match and match.groups() == ("-", "-")
    assert not {"user_agent", "referer"} & set(json.loads(lines["json"]["absent"]))


def test_writer_reopens_after_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    writer = LogWriter(str(file))
    file.rename(tmp_path / "access.log.1")
    writer.reopen()
    eventually(file.exists, "the file is there again")
    writer._write(b"after\n")
    writer.close()
    assert file.read_text() == "after\n" and (tmp_path / "access.log.1").read_text() == ""


def test_writer_keeps_the_old_file_when_reopening_fails(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    writer = LogWriter(str(directory / "access.log"))
    directory.rename(tmp_path / "moved")
    writer.reopen()
    writer._write(b"kept\n")
    writer.close()
    assert (tmp_path / "moved" / "access.log").read_text() == "kept\n"


def test_full_disk_is_counted() -> None:
    writer = LogWriter("/dev/full")
    writer._write(b"one\ntwo\n")
    assert writer.dropped == 2
    writer.close()


def test_target_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LogWriter(str(tmp_path / "absent" / "access.log"))


def test_closing_ends_the_thread_and_the_file(tmp_path: Path) -> None:
    """A reload that drops a log must not leave a descriptor behind."""
    descriptors = Path("/proc/self/fd")

    def opened() -> int:
        return sum(
            str(link.resolve()).startswith(str(tmp_path)) for link in descriptors.iterdir() if link.exists()
        )

    writer = LogWriter(str(tmp_path / "access.log"))
    assert opened() == 1
    writer.close()
    assert opened() == 0
