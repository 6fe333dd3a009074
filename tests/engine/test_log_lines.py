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
    "quote": 'a"b', "backslash": "a\\b", "backslash at the end": "a\\", "escaped quote": '\\"', "tab": "a\tb",
    "high bytes": "\x80\xff", "UTF-8": "\xc3\xbc", "JSON": '","status":200,"x":"', "braces": "}{", "percent": "%0a%s",
    "brackets": "] 127.0.0.1 - -", "empty": "",
}
COMBINED = re.compile(r'127\.0\.0\.1 - - \[[^]]+\] "GET /\S+ HTTP/1\.1" 204 0 "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"')


@pytest.fixture(scope="module")
def lbd() -> Iterator[Lbd]:
    with Lbd(CONFIG) as lbd:
        yield lbd


def line_about(lbd: Lbd, listener: str, mark: str, *fields: str) -> str:
    lbd.ask(head(f"GET /{mark} HTTP/1.1", "Host: a.test", *fields), listener)
    file = lbd.directory / f"{listener}.log"

    def found() -> list[str]:
        return [line for line in file.read_text().splitlines() if f"/{mark} " in line or f'/{mark}"' in line]

    (line,) = eventually(found, f"a line with {mark}")
    return line


@pytest.mark.parametrize("name", HOSTILE)
def test_json_lines_stay_json(lbd: Lbd, name: str) -> None:
    value = HOSTILE[name]
    mark = f"json-{list(HOSTILE).index(name)}"
    line = json.loads(line_about(lbd, "json", mark, f"User-Agent: {value}", f"Referer: {value}"))
    assert (line["user_agent"], line["referer"], line["status"]) == (value, value, 204)
    assert {"time", "request_id", "client", "method", "host", "target", "route", "listener", "duration"} <= set(line)


@pytest.mark.parametrize("name", HOSTILE)
def test_combined_lines_keep_their_fields(lbd: Lbd, name: str) -> None:
    value = HOSTILE[name]
    mark = f"combined-{list(HOSTILE).index(name)}"
    line = line_about(lbd, "combined", mark, f"User-Agent: {value}", "Referer: r")
    match = COMBINED.fullmatch(line)
    assert match and match[1] == "r", line
    assert json.loads(f'"{match[2]}"') == value


def test_absent_fields(lbd: Lbd) -> None:
    match = COMBINED.fullmatch(line_about(lbd, "combined", "absent"))
    assert match and match.groups() == ("-", "-")
    assert "user_agent" not in json.loads(line_about(lbd, "json", "absent"))


@pytest.mark.parametrize("byte", ['"', "\\", "\x80"], ids=ascii)
@pytest.mark.parametrize("length", [2000, 2048, 2049, 7000])
def test_long_values_are_cut_and_never_break_a_line(lbd: Lbd, byte: str, length: int) -> None:
    """Each of the bytes needs room for its escape in every field at once."""
    fields = (f"User-Agent: {byte * length}", f"Referer: {byte * length}")
    line = json.loads(line_about(lbd, "json", f"long-{ord(byte)}-{length}", *fields))
    assert line["user_agent"] == byte * min(length, 2048) == line["referer"]
    assert line_about(lbd, "combined", f"long-{ord(byte)}-{length}", *fields).isascii()


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
        return sum(str(link.resolve()).startswith(str(tmp_path)) for link in descriptors.iterdir() if link.exists())

    writer = LogWriter(str(tmp_path / "access.log"))
    assert opened() == 1
    writer.close()
    assert opened() == 0
