"""Curl command lines, as people copy them from browsers and documents."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from lbd.cli.curl_line import NotUnderstood, parse_curl

OWN = [["user-agent", "curl"], ["accept", "*/*"]]
FORM = ["content-type", "application/x-www-form-urlencoded"]
A = "http://a.test/"


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("http://a.test/", {"method": "GET", "url": A, "fields": OWN}),
        ("a.test/x#part", {"method": "GET", "url": "http://a.test/x", "fields": OWN}),
        ("-I a.test/", {"method": "HEAD", "url": A, "fields": OWN}),
        ("-X DELETE a.test/", {"method": "DELETE", "url": A, "fields": OWN}),
        ("-sXPUT a.test/", {"method": "PUT", "url": A, "fields": OWN}),
        ("-sSLk --compressed a.test/", {"method": "GET", "url": A,
                                         "fields": [*OWN, ["accept-encoding", "deflate, gzip, br, zstd"]]}),
        ("-d a=1 -d b=22 a.test/", {"method": "POST", "url": A, "fields": [*OWN, FORM], "body": 8}),
        ("-G -d a=1 -d b a.test/?c=3", {"method": "GET", "url": "http://a.test/?c=3&a=1&b", "fields": OWN}),
        ("--data-urlencode 'q=a b' a.test/", {"method": "POST", "url": A, "fields": [*OWN, FORM], "body": 7}),
        ("--json '{}' a.test/", {"method": "POST", "url": A, "body": 2, "fields": [
            OWN[0], ["accept", "application/json"], ["content-type", "application/json"]]}),
        ("-H 'X-User: anna' -A me -b s=1 a.test/", {"method": "GET", "url": A, "fields": [
            OWN[1], ["X-User", "anna"], ["user-agent", "me"], ["cookie", "s=1"]]}),
        ("-H 'Accept:' -H 'X-Empty;' a.test/", {"method": "GET", "url": A,
                                               "fields": [OWN[0], ["X-Empty", ""]]}),
        ("-u me:secret a.test/", {"method": "GET", "url": A,
                                  "fields": [*OWN, ["authorization", "Basic bWU6c2VjcmV0"]]}),
        ("--url https://u:p@a.test/ --http2 -o out -w '%{http_code}'", {"method": "GET", "url": "https://a.test/",
                                                                       "fields": OWN}),
        ("'http://a.test/ü b'", {"method": "GET", "url": "http://a.test/%C3%BC%20b", "fields": OWN}),
        ("--max-time 5 -- a.test/", {"method": "GET", "url": A, "fields": OWN}),
    ],
)  # fmt: skip
def test_what_is_asked(line: str, request_: dict[str, Any]) -> None:
    found = parse_curl(shlex.split(line))
    assert found.request == request_ and found.unknown == []


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("--hsts a.test/", ["--hsts"]),
        ("-F f=@x a.test/", ["-F"]),
        ("-b jar.txt a.test/", ["-b jar.txt (a file of cookies is not read)"]),
        ("-d @body a.test/", ["-d @body (the file is not read: its length is not known)"]),
        ("-H nonsense a.test/", ["-H nonsense"]),
    ],
)
def test_what_is_not_understood_is_said(line: str, unknown: list[str]) -> None:
    found = parse_curl(shlex.split(line))
    assert found.unknown == unknown and found.request["url"] == A


@pytest.mark.parametrize(("line", "said"), [("-s", "has no URL"), ("a.test b.test", "several URLs")])
def test_what_is_no_request(line: str, said: str) -> None:
    with pytest.raises(NotUnderstood, match=said):
        parse_curl(shlex.split(line))


def test_an_option_at_the_end_that_lacks_its_value() -> None:
    with pytest.raises(NotUnderstood, match="has no URL"):
        parse_curl(["-X"])
    assert parse_curl(["a.test/", "--data"]).request["url"] == A
