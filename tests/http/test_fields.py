"""What lbd removes from, adds to and never believes in the fields of a message.

RFC 9110 7.6; hazards 13, 33."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.client import Fields
from harness.http_origin import Answer, EchoOrigin, HttpOrigin
from harness.lbd import Lbd
from harness.messages import get, head

CONFIG = """
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
  - {name: trusting, bind: "127.0.0.1:0", cluster: app, trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]}
  - {name: keeping, bind: "127.0.0.1:0", cluster: app, underscore_fields: keep}
  - {name: renamed, bind: "127.0.0.1:0", cluster: renamed}
clusters:
  - {name: app, endpoints: [<origin>]}
  - {name: renamed, endpoints: [<origin>], host: internal.test}
"""


@pytest.fixture(scope="module")
def lbd(echo: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=echo) as lbd:
        yield lbd


def seen(lbd: Lbd, *fields: str, listener: str = "web") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in lbd.ask(get("/", *fields), listener).json()["headers"]:
        found.setdefault(name, []).append(value)
    return found


def test_forwarding_fields_are_set(lbd: Lbd) -> None:
    fields = seen(lbd)
    assert fields["x-forwarded-for"] == ["127.0.0.1"]
    assert fields["x-forwarded-proto"] == ["http"]
    assert fields["x-forwarded-host"] == ["example.test"]
    assert len(fields["via"]) == 1 and fields["via"][0].startswith("1.1 ")
    assert len(fields["x-request-id"]) == 1 and len(fields["x-request-id"][0]) >= 16


def test_host_is_kept_or_rewritten(lbd: Lbd) -> None:
    assert seen(lbd)["host"] == ["example.test"]
    fields = seen(lbd, listener="renamed")
    assert (fields["host"], fields["x-forwarded-host"]) == (["internal.test"], ["example.test"])


FORGED = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test",
          "X-Request-Id: forged-by-the-client")


def test_forwarding_fields_of_strangers_are_replaced(lbd: Lbd) -> None:
    fields = seen(lbd, *FORGED, "X-Forwarded-For: 7.7.7.7")
    assert fields["x-forwarded-for"] == ["127.0.0.1"]
    assert (fields["x-forwarded-proto"], fields["x-forwarded-host"]) == (["http"], ["example.test"])


def test_other_forwarding_fields_of_strangers_do_not_pass(lbd: Lbd) -> None:
    fields = seen(lbd, "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6")
    assert "6.6.6.6" not in str(fields)


def test_forwarding_fields_of_trusted_proxies_are_extended(lbd: Lbd) -> None:
    fields = seen(lbd, *FORGED, listener="trusting")
    assert ", ".join(fields["x-forwarded-for"]).replace(" ", "") == "6.6.6.6,127.0.0.1"
    assert (fields["x-forwarded-proto"], fields["x-forwarded-host"]) == (["https"], ["evil.test"])


def test_trusting_listener_sets_them_for_direct_clients(lbd: Lbd) -> None:
    assert seen(lbd, listener="trusting")["x-forwarded-for"] == ["127.0.0.1"]


def test_request_ids_differ(lbd: Lbd) -> None:
    assert len({seen(lbd)["x-request-id"][0] for _ in range(50)}) == 50


def test_via_is_extended(lbd: Lbd) -> None:
    fields = seen(lbd, "Via: 1.0 first")
    items = [item.strip() for value in fields["via"] for item in value.split(",")]
    assert items[0] == "1.0 first" and items[1].startswith("1.1 ") and len(items) == 2


HOP_BY_HOP = ("Connection: keep-alive, X-One, x-TWO", "X-One: 1", "X-Two: 2", "Keep-Alive: timeout=5",
              "TE: gzip",
              "Proxy-Connection: keep-alive", "Upgrade: h2c", "HTTP2-Settings: AAAA")


def test_hop_by_hop_fields_of_requests_end_here(lbd: Lbd) -> None:
    fields = seen(lbd, *HOP_BY_HOP, "X-Three: 3")
    gone = ("x-one", "x-two", "keep-alive", "te", "proxy-connection", "upgrade", "http2-settings")
    assert {name for name in gone if name in fields} == set()
    assert fields["x-three"] == ["3"]


def test_te_trailers_is_not_gzip(lbd: Lbd) -> None:
    assert seen(lbd, "TE: trailers, gzip", "Connection: TE").get("te", ["trailers"]) == ["trailers"]


def test_framing_and_host_cannot_be_nominated_away(lbd: Lbd) -> None:
    request = head("POST / HTTP/1.1", "Host: example.test", "Content-Length: 5",
                   "Connection: Host, Content-Length, X-Forwarded-For, Via, X-Request-Id") + b"hello"
    response = lbd.ask(request)
    if response.status == 400:
        return  # refusing such a request is allowed too
    fields = dict(response.json()["headers"])
    assert response.json()["length"] == 5 and fields["host"] == "example.test"
    assert fields["x-forwarded-for"] == "127.0.0.1" and fields["x-request-id"]


def test_hop_by_hop_fields_of_responses_end_here() -> None:
    fields: Fields = [("connection", "X-One"), ("x-one", "1"), ("keep-alive", "timeout=5"),
                      ("proxy-connection", "x"),
                      ("upgrade", "h2c"), ("x-three", "3")]
    with HttpOrigin(lambda _: Answer(fields=fields)) as origin, Lbd(CONFIG, origin=origin) as lbd:
        response = lbd.ask(get())
        names = {name for name, _ in response.fields}
        assert names.isdisjoint({"x-one", "proxy-connection",
                                 "upgrade"}) and "timeout=5" not in str(response.fields)
        assert response.one("x-three") == "3"
        assert (response.one("via") or "1.1 ").startswith("1.1 ")


def test_underscores(lbd: Lbd) -> None:
    assert "x_y" not in seen(lbd, "X_Y: 1")
    assert seen(lbd, "X_Y: 1", listener="keeping")["x_y"] == ["1"]


def test_error_body_is_text(lbd: Lbd) -> None:
    text = lbd.ask(head("GET / HTTP/1.1", "Host: a", "Content-Length: x"))
    assert (text.one("content-type") or "").startswith("text/plain")
    assert text.body.decode().startswith("400 bad_request (request ") and text.body.endswith(b")\n")


def test_other_fields_pass_unchanged(lbd: Lbd) -> None:
    sent = {"accept": "*/*;q=0.1", "cookie": "a=b; c=d", "authorization": "Bearer x.y.z", "x-empty": "",
            "user-agent": "t/1"}
    fields = seen(lbd, *(f"{name}: {value}" for name, value in sent.items()))
    assert {name: fields[name] for name in sent} == {name: [value] for name, value in sent.items()}


def test_ipv6_client_in_forwarded_for(echo: EchoOrigin) -> None:
    config = CONFIG.replace('{name: web, bind: "127.0.0.1:0"', '{name: web, bind: "[::1]:0"')
    with Lbd(config, origin=echo) as lbd:
        assert seen(lbd)["x-forwarded-for"] == ["::1"]
