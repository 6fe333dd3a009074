"""GET /api/certificates: what each listener serves, how long it is good, and what is wrong; never a key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from admin.asking import ask, look
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.waiting import TIMEOUT, eventually
from tls.fixtures import echo, world
from tls.speaking import Served, World

from lbd.admin.certificates import Certificates, view_certificate
from lbd.control.certs.keeper import CertificateRecord

__all__ = ["echo", "world"]

CONFIG = """
workers: <workers>
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>, <second>]}}
  - {name: other, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>]}}
  - {name: plain, bind: "127.0.0.1:0", cluster: app}
clusters: [{name: app, endpoints: [<origin>]}]
"""


@pytest.fixture(params=[1, 2])
def lbd(request: pytest.FixtureRequest, world: World, echo: EchoOrigin) -> Iterator[Served]:
    world.add("second", "b.test", "*.c.test")
    places = {"site": world.pair("site"), "second": world.pair("second"), "origin": echo}
    with Served(CONFIG, workers=request.param, **places) as lbd:
        yield lbd


def listed(lbd: Lbd) -> list[Any]:
    answer = look(lbd, "/api/certificates")
    Certificates.model_validate(answer)
    return list(answer["certificates"])


def test_what_is_served(lbd: Served, world: World) -> None:
    first, second, other = listed(lbd)
    assert [row["listener"] for row in (first, second, other)] == ["web", "web", "other"]
    assert (first["names"], second["names"]) == (["a.test"], ["b.test", "*.c.test"])
    made = world.made["site"]
    assert first["fingerprint"] == made.fingerprint == other["fingerprint"]
    assert first["not_before"] == made.certificate.not_valid_before_utc.timestamp()
    assert first["not_after"] == made.certificate.not_valid_after_utc.timestamp()
    assert first["issuer"] == made.certificate.issuer.rfc4514_string()
    assert first["days_left"] == (first["not_after"] - time.time()) // 86400
    assert (first["source"], first["file"]) == ("file", str(world.files("site")[0]))
    assert first["error"] is None
    assert b"PRIVATE" not in ask(lbd, "GET", "/api/certificates").body


def test_one_that_is_not_replaced(lbd: Served, world: World) -> None:
    before = listed(lbd)
    cert, key = world.files("second")
    good = key.read_bytes()
    key.write_bytes(world.files("site")[1].read_bytes())
    try:
        # looked at every two seconds, and again before it is believed
        wrong = lambda: [row for row in listed(lbd) if row["error"]]  # noqa: E731
        (said,) = eventually(wrong, "it is noticed", 4 * TIMEOUT)
        assert str(cert) in said["error"] or str(key) in said["error"]
        assert {**said, "error": None} == before[1], "the old one is in force"
    finally:
        key.write_bytes(good)


def test_one_that_is_not_there_yet() -> None:
    record = CertificateRecord("web", ("a.test",), None, None, "acme", "the authority is away")
    view = view_certificate(record, time.time())
    assert view["error"] == "the authority is away" and view["names"] == ["a.test"]
    unknown = ("file", "issuer", "not_before", "not_after", "days_left", "fingerprint")
    assert {view[name] for name in unknown} == {None}


def test_one_that_has_ended() -> None:
    record = CertificateRecord("web", ("a.test",), 1000000.0, "00", "file", None, "a.pem", 1.0, "CN=x")
    assert view_certificate(record, 1000001.0)["days_left"] == -1
    assert view_certificate(record, 1000000.0 - 86400)["days_left"] == 1


def test_without_tls(echo: EchoOrigin) -> None:
    config = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
    with Lbd(config, origin=echo) as lbd:
        assert listed(lbd) == []
