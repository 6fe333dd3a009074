"""The head codec: small GET, a browser's request, a response; through inspect_*, which makes Python objects.

So these numbers compare versions of the codec with each other; what the engine pays is less by the objects.
"""

from __future__ import annotations

import pytest

from bench.micro.conftest import Timed
from bench.micro.subjects import BROWSER, RESPONSE, SMALL
from lbd.engine.http1 import inspect_request, inspect_response
from lbd.engine.path import normal_path

TIMES = 2000


def repeat(call: object, data: bytes) -> None:
    for _ in range(TIMES):
        call(data)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("call", "data", "fields"),
    [(inspect_request, SMALL, 1), (inspect_request, BROWSER, 12), (inspect_response, RESPONSE, 9)],
    ids=["small GET", "browser GET", "response"],
)
def test_head(nanoseconds: Timed, call: object, data: bytes, fields: int) -> None:
    found = call(data)  # type: ignore[operator]
    assert len(found.fields) == fields and found.consumed == len(data)
    nanoseconds(TIMES, repeat, call, data, bytes=len(data), fields=fields)


@pytest.mark.parametrize(
    "path",
    [b"/", b"/api/v1/users/42/items", b"/a//b/../%7euser/%e4"],
    ids=["root", "normal", "to be changed"],
)
def test_path(nanoseconds: Timed, path: bytes) -> None:
    assert normal_path(path)
    nanoseconds(TIMES, repeat, normal_path, path, bytes=len(path))
