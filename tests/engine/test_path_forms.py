"""The normal form of paths: a table, and properties over generated paths."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lbd.engine.path import normal_path

TABLE: dict[bytes, bytes | None] = {
    b"/": b"/",
    b"/a": b"/a",
    b"/a/": b"/a/",
    b"//": b"/",
    b"///a///b//": b"/a/b/",
    b"/.": b"/",
    b"/./": b"/",
    b"/a/.": b"/a/",
    b"/a/./b": b"/a/b",
    b"/./a": b"/a",
    b"/a/..": b"/",
    b"/a/../": b"/",
    b"/a/../b": b"/b",
    b"/a/b/..": b"/a/",
    b"/a/b/../..": b"/",
    b"/a//../b": b"/b",
    b"/a/b/../../c": b"/c",
    b"/a/%2e%2e/b": b"/b",
    b"/a/.%2E/b": b"/b",
    b"/%2e/a": b"/a",
    b"/..": None,
    b"/../a": None,
    b"/a/../..": None,
    b"/%2e%2e/a": None,
    b"/./..": None,
    b"/a/../../b": None,
    b"/...": b"/...",
    b"/..a": b"/..a",
    b"/a..": b"/a..",
    b"/.a": b"/.a",
    b"/a.": b"/a.",
    b"/....": b"/....",
    b"/%41%7a%30%2D%2e%5F%7E": b"/Az0-._~",
    b"/%2f": b"/%2F",
    b"/%2F": b"/%2F",
    b"/%c3%bc": b"/%C3%BC",
    b"/%20": b"/%20",
    b"/%25": b"/%25",
    b"/%252e%252e/": b"/%252e%252e/",
    b"/%25%32%65": b"/%252e",
    b"/%3a": b"/%3A",
    b"/%": None,
    b"/%4": None,
    b"/%4g": None,
    b"/%g4": None,
    b"/a%": None,
    b"/%%34%31": None,
    b"/% 1": None,
    b"/%00": None,
    b"/%0a": None,
    b"/%0D%0A": None,
    b"/%1f": None,
    b"/%7f": None,
    b"/%80": b"/%80",
    b"/..%2f": None,
    b"/..%2Fa": None,
    b"/a%2f..": None,
    b"/a%2f..%2fb": None,
    b"/%2f..": None,
    b"/.%2f": None,
    b"/..%5c": None,
    b"/a%5C..": None,
    b"/a%5c..%5cb": None,
    b"/a%2Fb": b"/a%2Fb",
    b"/a%5Cb": b"/a%5Cb",
    b"/..;": None,
    b"/..;x/a": None,
    b"/.;": None,
    b"/a;..": None,
    b"/a;b": b"/a;b",
    b"/a/..;/b": None,
    b"/%2e%2e;x": None,
    b"/a;x=..": b"/a;x=..",
    b"/a%3b..": b"/a%3B..",
    b"/A": b"/A",
    b"/a=b&c:d@e!$'()*+,": b"/a=b&c:d@e!$'()*+,",
    b"": None,
    b"a": None,
    b"*": None,
}
PIECES = [
    b"/",
    b"/",
    b".",
    b"..",
    b"a",
    b"B1",
    b"%2e",
    b"%2E",
    b"%2f",
    b"%5C",
    b"%41",
    b"%25",
    b"%c3%bc",
    b";",
    b"~",
    b"%20",
    b"=",
    b"%",
    b"%0a",
    b"2e",
]
PATHS = st.lists(st.sampled_from(PIECES), max_size=14).map(lambda pieces: b"/" + b"".join(pieces))
ANY_BYTES = st.binary(max_size=40).map(lambda data: b"/" + data)
relaxed = settings(max_examples=120, deadline=None)


@pytest.mark.parametrize(("path", "normal"), TABLE.items(), ids=[path.decode() or "empty" for path in TABLE])
def test_normal_path(path: bytes, normal: bytes | None) -> None:
    assert normal_path(path) == normal


@relaxed
@given(PATHS | ANY_BYTES)
def test_normal_form_is_its_own_normal_form(path: bytes) -> None:
    normal = normal_path(path)
    assert normal is None or normal_path(normal) == normal


@relaxed
@given(PATHS | ANY_BYTES)
def test_shape(path: bytes) -> None:
    """Begins with "/", not longer than what came, escapes in upper case and only where they must be."""
    normal = normal_path(path)
    if normal is None:
        return
    assert normal.startswith(b"/") and b"//" not in normal and len(normal) <= len(path)
    for escape in re.findall(rb"%(..?)?", normal):
        value = bytes.fromhex(escape.decode())
        assert escape == escape.upper()
        assert not re.match(rb"[A-Za-z0-9._~\x00-\x1f\x7f-]", value)


@relaxed
@given(PATHS)
@example(b"/a%2f..%2fb")
@example(b"/a;/..;x")
def test_no_reader_sees_a_dot_segment(path: bytes) -> None:
    """Whoever decodes once, takes a backslash for a slash or cuts parameters finds no dot segment either."""
    normal = normal_path(path)
    if normal is None:
        return
    for form in (normal, unquote_to_bytes(normal), unquote_to_bytes(normal).replace(b"\\", b"/")):
        assert not {b".", b".."} & set(form.split(b"/"))
        assert not {b".", b".."} & {segment.partition(b";")[0] for segment in form.split(b"/")}


def resolved(path: bytes) -> bytes | None:
    """Dot segments after RFC 3986 5.2.4 over the decoded path, slashes merged; None above the root."""
    kept: list[bytes] = []
    segments = unquote_to_bytes(path)[1:].split(b"/")
    for segment in segments:
        if segment == b"..":
            if not kept:
                return None
            kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    end = b"/" if kept and segments[-1] in (b"", b".", b"..") else b""
    return b"/" + b"/".join(kept) + end


@relaxed
@given(st.lists(st.sampled_from([b"/", b"/", b".", b"..", b"%2e", b"a", b"%42", b"c.", b"%7e"]), max_size=14))
def test_agrees_with_a_naive_resolution(pieces: list[bytes]) -> None:
    path = b"/" + b"".join(pieces)
    assert normal_path(path) == resolved(path)


def test_long_paths() -> None:
    assert normal_path(b"/a" * 30000) == b"/a" * 30000
    assert normal_path(b"/a" * 30000 + b"/.." * 29999) == b"/"[:0] + b"/a/"
    assert normal_path(b"/a" * 100 + b"/.." * 101) is None
    assert normal_path(b"/" * 60000) == b"/"
    assert normal_path(b"/" + b"%41" * 20000) == b"/" + b"A" * 20000
