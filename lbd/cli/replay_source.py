"""Where `lbd replay` takes recorded requests from: a running lbd, page by page, or a file, line by line.

Neither is held in memory as a whole. A file may be anybody's: what is no record is handed on as it is, with
the number of its line, and whoever takes it says what is wrong with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import IO, Any
from urllib.parse import urlencode

import click

from lbd.cli.admin_client import AdminClient, ask_or_exit, fail

PAGE = 1000  # records, as many as lbd gives at once
LONGEST_LINE = 1 << 16  # bytes; a record has less than 4 KiB

Numbered = tuple[Any, int | None]  # a record, and the line where it stands


class NotARecord(str):
    """Why a line is none."""


def recorded_by(client: AdminClient, since: float, limit: int | None) -> Iterator[Numbered]:
    """What a running lbd remembers, the newest first. since: Unix time. The process ends with 1 when it
    cannot be asked."""
    return islice(((record, None) for record in _pages(client, since)), limit)


def _pages(client: AdminClient, since: float) -> Iterator[Any]:
    asked = {"limit": PAGE, "since": since}
    seen: set[str] = set()  # of the page before: one moment may stand on both
    while True:
        page = ask_or_exit(partial(client.get, f"/api/recorder?{urlencode(asked)}", "records"))["records"]
        fresh = [record for record in page if record["id"] not in seen]
        yield from fresh
        if not fresh or len(page) < PAGE:
            return
        seen = {record["id"] for record in page}
        asked["until"] = page[-1]["ended"]


def recorded_in(file: IO[bytes], since: float, limit: int | None) -> Iterator[Numbered]:
    """The lines of a file in their order, without blank ones and those before `since`; NotARecord for one
    that is no JSON."""
    return islice(_lines(file, since), limit)


def _lines(file: IO[bytes], since: float) -> Iterator[Numbered]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            yield NotARecord(f"is longer than {LONGEST_LINE} bytes"), number
            continue
        if not line.strip():
            continue
        record = _read(line)
        ended = record.get("ended") if isinstance(record, dict) else None
        if isinstance(ended, (int, float)) and ended < since:
            continue
        yield record, number


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # also of bytes that are no UTF-8, and of lists without end
        if not line.endswith(b"\n"):
            return NotARecord("is not whole: it ends without an end of line")
        return NotARecord("is not JSON")


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """The file, or stdin for `-`. The process ends with 1 when it cannot be read."""
    try:
        with click.open_file(name, "rb") as file:
            yield file
    except OSError as error:
        fail(f"{name}: {error.strerror or error}")
