"""Forwarded (RFC 7239): from trusted proxies it names the client, and endpoints get it when asked for."""

from __future__ import annotations

import json

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get

CONFIG = """
access_log: {to: stdout}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, trusted_proxies: [127.0.0.0/8], forwarded: true}
  - {name: edge, bind: "127.0.0.1:0", cluster: app, forwarded: true}
  - {name: plain, bind: "127.0.0.1:0", cluster: app, trusted_proxies: [127.0.0.0/8]}
  - name: by-client
    bind: "127.0.0.1:0"
    trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]
    routes:
      - {match: {source: [203.0.113.0/24]}, respond: {status: 200, body: outside}}
      - {match: {source: ["2001:db8::/32"]}, respond: {status: 200, body: six}}
      - {respond: {status: 403, body: other}}
clusters:
  - {name: app, endpoints: [<origin>]}
"""


@pytest.fixture(scope="module")
def origin():
    with EchoOrigin() as origin:
        yield origin


@pytest.fixture(scope="module")
def lbd(origin):
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (["Forwarded: for=203.0.113.7"], b"outside"),
        (["Forwarded: For=\"203.0.113.7:8080\";proto=https"], b"outside"),
        (["Forwarded: proto=https;for=203.0.113.7;by=10.0.0.1, for=10.1.1.1"], b"outside"),
        (["Forwarded: for=203.0.113.7", "Forwarded: for=10.0.0.9"], b"outside"),
        (["Forwarded: for=\"[2001:db8::17]:4711\""], b"six"),
        # all left of the untrusted may be invented
        (["Forwarded: for=203.0.113.7, for=198.51.100.1"], b"other"),
        (["Forwarded: for=203.0.113.7, for=_hidden"], b"other"),
        (["Forwarded: for=203.0.113.7, for=unknown"], b"other"),
        (["Forwarded: for=203.0.113.7, proto=http"], b"other"),
        (["Forwarded: for=198.51.100.1", "X-Forwarded-For: 203.0.113.9"], b"outside"),
        (["Forwarded: for=\""], b"other"),
        (["Forwarded: for="], b"other"),
    ],
)
def test_the_client_behind_trusted_proxies(lbd, fields, body):
    assert lbd.ask(get("/", *fields), "by-client").body == body


def seen(lbd, listener, *fields):
    response = json.loads(lbd.ask(get("/", *fields, "Accept: application/json"), listener).body)
    return [value for name, value in response["headers"] if name.lower() == "forwarded"]


def test_endpoints_get_one_element_more(lbd):
    assert seen(lbd, "web", "Forwarded: for=203.0.113.7") == [
        'for=203.0.113.7, for="127.0.0.1";host="example.test";proto=http'
    ]


def test_of_strangers_nothing_is_kept(lbd):
    own = 'for="127.0.0.1";host="example.test";proto=http'
    assert seen(lbd, "edge", "Forwarded: for=203.0.113.7") == [own]


def test_without_the_setting_it_passes_from_trusted_proxies_only(lbd):
    assert seen(lbd, "plain", "Forwarded: for=203.0.113.7") == ["for=203.0.113.7"]
    assert seen(lbd, "plain") == []
