"""Traces end to end: what endpoints get and what a collector decodes, over HTTP/1, HTTP/2 and gRPC."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get, head
from harness.origin import Origin, Refusing, recv_head
from harness.waiting import eventually
from http2.frames import headers, request
from http2.wire import H2Client
from observe.collector import Collector, values
from observe.reading import line_with
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tls.speaking import TlsClient, World

CONFIG = """
state_directory: state
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout}
environment: testing
region: eu
tracing: {endpoint: "<collector>", <tracing>}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    trusted_proxies: <trusted>
    routes:
      - {name: fixed, match: {path: /fixed}, respond: {status: 204}}
      - {name: lost, match: {path: /lost}, cluster: lost}
      - {name: h2, match: {path: ["/h2", "/demo.Demo/*"]}, cluster: h2}
      - {name: rest, cluster: app}
<more>
clusters:
  - {name: app, endpoints: [{address: <origin>, name: one, labels: {tier: gold, region: eu-1}}]}
  - {name: lost, endpoints: [{address: <bad>, name: bad}]}
  - {name: h2, protocol: http2, endpoints: [{address: <h2>, name: two}]}
"""
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")


class Calls(grpc.GenericRpcHandler):
    """A gRPC server that keeps the metadata it was sent."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.metadata.append(dict(details.invocation_metadata))

        def answer(message: bytes, context: grpc.ServicerContext) -> bytes:
            if details.method.endswith("Fail"):
                context.abort(grpc.StatusCode.UNAVAILABLE, "no")
            return message

        return grpc.unary_unary_rpc_method_handler(answer)


class Site:
    def __init__(self, tracing: str = "sample: 100%", trusted: str = "[10.9.8.7]", more: str = "") -> None:
        self.config = CONFIG.replace("<tracing>", tracing).replace("<trusted>", trusted)
        self.config = self.config.replace("<more>", more)
        self.status = 200

    def __enter__(self) -> Site:
        self.stack = ExitStack()
        self.collector = self.stack.enter_context(Collector())
        self.origin = self.stack.enter_context(HttpOrigin(self.answer))
        bad = self.stack.enter_context(Refusing())
        self.calls = Calls()
        server = grpc.server(futures.ThreadPoolExecutor(4), [self.calls])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.stack.callback(lambda: server.stop(None).wait())
        places = {"origin": self.origin, "bad": bad, "h2": f"127.0.0.1:{port}"}
        self.lbd = self.stack.enter_context(Lbd(self.config, collector=self.collector.url, **places))
        return self

    def answer(self, seen: Seen) -> Answer:
        return Answer(self.status, body=b"body")

    def __exit__(self, *error: object) -> None:
        self.stack.__exit__(*error)  # type: ignore[arg-type]

    def sent(self, name: str) -> list[str]:
        """Values of a field in the last request of the endpoint."""
        return self.origin.requests[-1].all(name)

    def parent(self) -> tuple[str, str, str]:
        """What the endpoint got as traceparent: trace, span, flags."""
        (value,) = self.sent("traceparent")
        match = TRACEPARENT.fullmatch(value)
        assert match, value
        return match[1], match[2], match[3]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def test_trace_begins_here(site: Site) -> None:
    site.lbd.ask(get("/begins?token=secret", "User-Agent: x"))
    trace, span, flags = site.parent()
    server, (client,) = site.collector.of("/begins")
    assert flags == "01" and server.trace_id.hex() == client.trace_id.hex() == trace
    assert client.span_id.hex() == span and client.parent_span_id == server.span_id
    assert server.parent_span_id == b"" and server.name == "GET rest"
    assert (server.kind, client.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert server.start_time_unix_nano <= client.start_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano
    said = values(server.attributes)
    for name, value in {
        "http.request.method": "GET", "url.path": "/begins", "url.scheme": "http",
        "server.address": "example.test", "client.address": "127.0.0.1", "network.protocol.version": "1.1",
        "http.response.status_code": 200, "route": "rest", "upstream": "app", "tier": "gold",
        "region": "eu-1", "lbd.listener": "web", "lbd.endpoint": "one",
    }.items():
        assert said[name] == value, name
    line = line_with(site.lbd, "/begins?")
    assert (line["trace_id"], line["span_id"]) == (trace, server.span_id.hex())
    assert said["lbd.request_id"] == line["request_id"] and "secret" not in str(server) + str(client)
    host, port = str(site.origin).split(":")
    told = values(client.attributes)
    assert (told["server.address"], told["server.port"]) == (host, int(port))
    assert told["http.response.status_code"] == 200 and "http.request.resend_count" not in told
    (record,) = site.lbd.admin("/api/recorder?path=/begins").json()["records"]
    assert record["trace_id"] == trace


def test_collector_is_told_who_we_are(site: Site) -> None:
    site.lbd.ask(get("/resource"))
    site.collector.of("/resource")
    resource = site.collector.resources[-1]
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("lbd", "testing")
    assert resource["cloud.region"] == "eu"
    assert site.collector.paths[-1] == "/v1/traces"
    assert site.collector.requests[-1]["Content-Encoding"] == "gzip"
    assert site.collector.requests[-1]["Content-Type"] == "application/x-protobuf"


def test_trace_of_the_client_goes_on(site: Site) -> None:
    site.lbd.ask(get("/goes-on", f"traceparent: {PARENT}01", "tracestate: a=b", "tracestate: c=d"))
    trace, span, flags = site.parent()
    server, (client,) = site.collector.of("/goes-on")
    assert (trace, flags) == (PARENT[3:35], "01") and server.trace_id.hex() == trace
    assert server.parent_span_id.hex() == PARENT[36:52] and client.span_id.hex() == span
    assert span != PARENT[36:52] and site.sent("tracestate") == ["a=b", "c=d"]


def test_client_that_does_not_sample(site: Site) -> None:
    site.lbd.ask(get("/not-sampled", f"traceparent: {PARENT}00"))
    trace, span, flags = site.parent()
    assert (trace, flags) == (PARENT[3:35], "00") and span != PARENT[36:52]
    site.lbd.ask(get("/sampled-later"))
    site.collector.of("/sampled-later")
    assert not [one for one in site.collector.spans if values(one.attributes)["url.path"] == "/not-sampled"]


@pytest.mark.parametrize("fields", [
    ["traceparent: garbage"], [f"traceparent: {PARENT}01".upper()], [f"traceparent: {PARENT}01"] * 2,
    ["traceparent:"], [f"traceparent: {PARENT}0g"], ["Connection: traceparent", f"traceparent: {PARENT}01"]])
def test_bad_context_is_replaced(site: Site, fields: list[str]) -> None:
    site.lbd.ask(get("/bad-context", *fields, "tracestate: a=b"))
    trace, _, flags = site.parent()
    assert trace != PARENT[3:35] and flags == "01" and site.sent("tracestate") == []


def test_bad_state_is_dropped(site: Site) -> None:
    site.lbd.ask(get("/bad-state", f"traceparent: {PARENT}01", "tracestate: NO=1"))
    assert site.parent()[0] == PARENT[3:35] and site.sent("tracestate") == []


def test_answer_of_lbd_has_one_span(site: Site) -> None:
    site.lbd.ask(get("/fixed"))
    server, _ = site.collector.of("/fixed", 0)
    assert values(server.attributes)["http.response.status_code"] == 204
    site.lbd.ask(get("/after-fixed"))
    site.collector.of("/after-fixed")
    assert not [one for one in site.collector.spans if one.parent_span_id == server.span_id]


def test_failure(site: Site) -> None:
    site.lbd.ask(get("/lost"))
    server, (client,) = site.collector.of("/lost")
    for span in (server, client):
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert values(span.attributes)["error.type"] == "connect_failed"


def test_request_that_cannot_be_read(site: Site) -> None:
    site.lbd.ask(head("GET / HTTP/1.1", "Host: a", "Content-Length: nonsense", f"traceparent: {PARENT}01"))

    def found() -> list[Span]:
        return [one for one in list(site.collector.spans)
                if values(one.attributes).get("error.type") == "bad_request"]

    (span,) = eventually(found)
    assert values(span.attributes)["http.response.status_code"] == 400 and span.name == "HTTP -"


def test_http2_client(site: Site) -> None:
    with H2Client(site.lbd.address()).start() as client:
        client.send(headers(1, request("/by-h2", ("traceparent", f"{PARENT}01"))))
        assert client.read_answer(1).status == 200
    trace, span, _ = site.parent()
    server, (below,) = site.collector.of("/by-h2")
    assert trace == PARENT[3:35] and below.span_id.hex() == span
    assert values(server.attributes)["network.protocol.version"] == "2"


@pytest.mark.parametrize("method", ["Echo", "Fail"])
def test_grpc_call(site: Site, method: str) -> None:
    with grpc.insecure_channel("{}:{}".format(*site.lbd.address())) as channel:
        call = channel.unary_unary(f"/demo.Demo/{method}")
        metadata = (("traceparent", f"{PARENT}01"),)
        if method == "Echo":
            assert call(b"hello", metadata=metadata, timeout=5) == b"hello"
        else:
            with pytest.raises(grpc.RpcError):
                call(b"hello", metadata=metadata, timeout=5)
    match = TRACEPARENT.fullmatch(site.calls.metadata[-1]["traceparent"])
    server, clients = site.collector.of(f"/demo.Demo/{method}")
    assert match and match[1] == PARENT[3:35] and match[2] == clients[-1].span_id.hex()
    assert values(server.attributes)["rpc.grpc.status_code"] == (0 if method == "Echo" else 14)


def test_each_attempt_has_its_span() -> None:
    """Two endpoints, one of which ends each connection with a head: the replay names another span."""
    more = "  - {name: two, bind: \"127.0.0.1:0\", cluster: pair}\n"
    site = Site(more=more)
    with HttpOrigin(lambda seen: Answer(503)) as failing:
        site.config += f"""  - name: pair
    endpoints: [{{address: {failing}, name: failing}}, {{address: <origin>, name: good}}]
    retry: {{statuses: [503]}}
    balancer: first_available
"""
        with site:
            assert site.lbd.ask(get("/tries"), "two").status == 200
            server, clients = site.collector.of("/tries", 2)
            assert [values(one.attributes)["lbd.endpoint"] for one in clients] == ["failing", "good"]
            seen = [TRACEPARENT.fullmatch(origin.requests[-1].all("traceparent")[0])
                    for origin in (failing, site.origin)]
            assert [match[2] for match in seen if match] == [one.span_id.hex() for one in clients]
            assert len({one.span_id for one in (server, *clients)}) == 3
            assert clients[0].status.code == Status.STATUS_CODE_ERROR
            assert clients[1].status.code == Status.STATUS_CODE_UNSET
            assert [values(one.attributes).get("http.request.resend_count") for one in clients] == [None, 1]


def test_hedged_attempts_have_their_spans() -> None:
    more = "  - {name: two, bind: \"127.0.0.1:0\", cluster: pair}\n"
    site = Site(more=more)
    with Origin([recv_head]) as stuck:
        site.config += f"""  - name: pair
    endpoints: [{{address: {stuck}, name: stuck}}, {{address: <origin>, name: good}}]
    retry: {{hedge_after: 30ms}}
    balancer: first_available
"""
        with site:
            assert site.lbd.ask(get("/hedged"), "two").status == 200
            _, clients = site.collector.of("/hedged", 2)
            by_name = {values(one.attributes)["lbd.endpoint"]: one for one in clients}
            first = TRACEPARENT.search(stuck.connections[0].received.decode())
            assert first and first[2] == by_name["stuck"].span_id.hex()
            assert site.parent()[1] == by_name["good"].span_id.hex()
            assert values(by_name["stuck"].attributes)["error.type"] == "hedged"


def test_id_fields() -> None:
    with Site("sample: 100%, id_fields: true") as site:
        site.lbd.ask(get("/ids", "X-Trace-ID: forged", "X-Span-ID: forged", "X-Parent-Span-ID: forged",
                         "X-Route-Name: forged"))
        trace, span, _ = site.parent()
        server, _ = site.collector.of("/ids")
        assert site.sent("x-trace-id") == [trace] and site.sent("x-span-id") == [span]
        assert site.sent("x-parent-span-id") == [server.span_id.hex()]
        assert site.sent("x-route-name") == ["rest"]


def test_fields_of_others_pass_when_they_are_not_ours(site: Site) -> None:
    site.lbd.ask(get("/theirs", "X-Trace-ID: theirs", "X-Span-ID: 7"))
    assert site.sent("x-trace-id") == ["theirs"] and site.sent("x-span-id") == ["7"]


def test_without_tracing_everything_passes(echo: object) -> None:
    config = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
    fields = [("traceparent", "whatever"), ("tracestate", "X"), ("x-trace-id", "1"), ("x-route-name", "r")]
    with Lbd(config, origin=echo) as lbd:
        seen = lbd.ask(get("/", *(f"{name}: {value}" for name, value in fields))).json()["headers"]
        assert [list(field) for field in fields] == [one for one in seen if one[0] in dict(fields)]


@pytest.mark.parametrize(("parent", "trusted", "goes_on"), [
    ("trusted", "[10.9.8.7]", False), ("trusted", "[127.0.0.1]", True), ("never", "[127.0.0.1]", False),
    ("always", "[10.9.8.7]", True)])
def test_whose_trace_is_taken_up(parent: str, trusted: str, goes_on: bool) -> None:
    with Site(f"sample: 0%, parent: {parent}", trusted) as site:
        site.lbd.ask(get("/whose", f"traceparent: {PARENT}01", "tracestate: a=b"))
        trace, _, flags = site.parent()
        assert (trace == PARENT[3:35]) == goes_on and flags == ("01" if goes_on else "00")
        assert site.sent("tracestate") == (["a=b"] if goes_on else [])


def test_sample_is_about_its_share() -> None:
    """400 requests at 50%: fewer than 120 or more than 280 come once in 10^15 runs. Ids never repeat."""
    with Site("sample: 50%") as site, site.lbd.connect() as client:
        for _ in range(400):
            client.ask(get("/share"))
        found = [TRACEPARENT.fullmatch(seen.all("traceparent")[0]) for seen in site.origin.requests]
        assert 120 <= sum(match[3] == "01" for match in found if match) <= 280
        for part in (1, 2):
            assert len({match[part] for match in found if match}) == 400


def test_headers_for_the_collector_and_no_compression() -> None:
    with Site("sample: 100%, compression: none, headers: {authorization: Bearer 1}, service: edge, "
              "resource: {team: web}") as site:
        site.lbd.ask(get("/plain"))
        site.collector.of("/plain")
        assert site.collector.requests[-1]["authorization"] == "Bearer 1"
        assert "Content-Encoding" not in site.collector.requests[-1]
        assert site.collector.resources[-1]["service.name"] == "edge"
        assert site.collector.resources[-1]["team"] == "web"


@contextmanager
def exported(lbd: Lbd, more: int) -> Iterator[None]:
    before = lbd.metric("lbd_traces_exported_total")
    yield
    eventually(lambda: lbd.metric("lbd_traces_exported_total") == before + more, "spans are exported")


def test_collector_that_refuses_and_is_well_again() -> None:
    with Site() as site:
        site.collector.status = 503
        site.lbd.ask(get("/refused"))
        eventually(lambda: site.lbd.metric("lbd_traces_dropped_total", reason="collector") == 1)
        assert "tracing: the collector answers 503; spans are dropped and counted" in site.lbd.stderr
        site.collector.status = 200
        with exported(site.lbd, 1):
            site.lbd.ask(get("/taken"))
        site.collector.of("/taken")
        eventually(lambda: "spans are exported again" in site.lbd.stderr)


def test_collector_that_is_away() -> None:
    with Site() as site:
        site.collector.server.shutdown()
        site.collector.server.server_close()
        assert site.lbd.ask(get("/nobody")).status == 200
        eventually(lambda: site.lbd.metric("lbd_traces_dropped_total", reason="collector") == 1)
        site.collector.server.serve_forever = lambda: None  # type: ignore[method-assign]
        site.collector.server.shutdown = lambda: None  # type: ignore[method-assign]


def test_collector_that_hangs_costs_spans_and_no_request() -> None:
    """The queue fills; what does not fit is counted, and requests are served."""
    with Site("sample: 100%, queue: 4") as site, site.lbd.connect() as client:
        site.collector.hold = threading.Event()
        for _ in range(40):
            assert client.ask(get("/hangs")).status == 200
        eventually(lambda: site.lbd.metric("lbd_traces_dropped_total", reason="queue") > 0)
        site.collector.hold.set()
        eventually(lambda: site.lbd.metric("lbd_traces_exported_total") >= 5, "what waited is exported")
        site.lbd.ask(get("/goes-on-after"))
        site.collector.of("/goes-on-after")


def test_over_tls(world: World) -> None:
    tls = "tls: {certificates: [" + world.pair("site") + "]}"
    with Site(more="  - {name: secure, bind: \"127.0.0.1:0\", cluster: app, " + tls + "}") as site:
        line = next(line for line in site.lbd.lines if " secure: listening" in line)
        match = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert match
        with TlsClient(("127.0.0.1", int(match[1])), world.client_context()) as client:
            assert client.ask(get("/secure")).status == 200
        said = values(site.collector.of("/secure")[0].attributes)
        assert (said["url.scheme"], said["tls.protocol.version"]) == ("https", "1.3")


