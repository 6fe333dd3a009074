"""curl before lbd: HTTP/1.1, HTTP/2 with and without TLS, up, down, HEAD, Expect, many at once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edge.programs import curl
from harness.http_origin import Answer, HttpOrigin, Seen, echo
from tls.speaking import Served, World

Program = Callable[[str], str]
CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
  - {name: secure, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>]}}
clusters: [{name: app, endpoints: [<origin>]}]
"""
REDIRECT = """
listeners: [{name: web, bind: "127.0.0.1:0", https_redirect: {port: <port>}}]
"""
BODY = os.urandom(3 << 20)
DIGEST = hashlib.sha256(BODY).hexdigest()
WAYS = {
    "http1": ("web", "--http1.1"), "http1.0": ("web", "--http1.0"), "h2c": ("web", "--http2-prior-knowledge"),
    "https1": ("secure", "--http1.1"), "h2": ("secure", "--http2"),
    "tls1.2 h2": ("secure", "--http2 --tls-max 1.2"),
}
VERSIONS = {"http1": "1.1", "http1.0": "1.1", "h2c": "2", "https1": "1.1", "h2": "2", "tls1.2 h2": "2"}
ways = pytest.mark.parametrize("way", WAYS)


def answer(seen: Seen) -> Answer:
    if seen.target.startswith("/big"):
        return Answer(body=BODY, chunked="chunked" in seen.target)
    return echo(seen)


@pytest.fixture(scope="module")
def lbd(world: World) -> Iterator[Served]:
    with HttpOrigin(answer) as origin, Served(CONFIG, site=world.pair("site"), origin=origin) as lbd:
        yield lbd
    assert origin.malformed == []


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("upload") / "body"
    file.write_bytes(BODY)
    return f"@{file}"


def options(lbd: Served, world: World, way: str, path: str) -> list[str]:
    listener, version = WAYS[way]
    host, port = lbd.address(listener)
    scheme = "https" if listener == "secure" else "http"
    return [*version.split(), "--cacert", str(world.ca_file), "--resolve", f"a.test:{port}:{host}",
            f"{scheme}://a.test:{port}{path}"]


@ways
def test_get(program: Program, lbd: Served, world: World, way: str) -> None:
    said = curl(program, *options(lbd, world, way, "/get?x=1"), "--write-out", "\n%{http_version}")
    body, _, version = said.rpartition("\n")
    assert json.loads(body)["target"] == "/get?x=1"
    assert version == VERSIONS[way]


@ways
@pytest.mark.parametrize("path", ["/big", "/big-chunked"])
def test_download(program: Program, lbd: Served, world: World, tmp_path: Path, way: str, path: str) -> None:
    curl(program, *options(lbd, world, way, path), "--output", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == BODY


@ways
@pytest.mark.parametrize("more", ["", "Expect: 100-continue", "Transfer-Encoding: chunked", "Expect:"])
def test_upload(program: Program, lbd: Served, world: World, upload: str, way: str, more: str) -> None:
    if more.startswith("Transfer") and way not in ("http1", "https1"):
        more = "X-Nothing: special"
    extra = ["-H", more] if more else []
    report = json.loads(curl(program, *options(lbd, world, way, "/up"), "--data-binary", upload, *extra))
    assert (report["length"], report["sha256"]) == (len(BODY), DIGEST)


@pytest.mark.parametrize("way", sorted(WAYS.keys() - {"http1.0"}))
def test_upload_of_unknown_length(program: Program, lbd: Served, world: World, upload: str, way: str) -> None:
    """Chunked over HTTP/1.1, without content-length over HTTP/2."""
    host_options = options(lbd, world, way, "/up")
    report = json.loads(curl(program, *host_options, "--upload-file", upload[1:], "-H", "Content-Length:",
                             "-H", "Transfer-Encoding: chunked"))
    assert (report["method"], report["length"]) == ("PUT", len(BODY))


@ways
def test_head(program: Program, lbd: Served, world: World, way: str) -> None:
    said = curl(program, *options(lbd, world, way, "/big"), "--head").lower()
    assert f"content-length: {len(BODY)}" in said
    assert said.count("http/") == 1


@pytest.mark.parametrize("way", sorted(WAYS.keys() - {"h2c"}))  # where this curl fails, with nginx as well
def test_connections_are_reused(program: Program, lbd: Served, world: World, way: str) -> None:
    arguments = options(lbd, world, way, "/get")
    said = curl(program, *arguments, *[arguments[-1]] * 9, "--write-out", "\n%{num_connects}\n")
    connects = sum(int(line) for line in said.splitlines() if line.isdigit())
    assert connects == 1 or (way == "http1.0" and connects == 10)


@pytest.mark.parametrize("way", ["h2", "h2c"])
def test_many_at_once(program: Program, lbd: Served, world: World, tmp_path: Path, way: str) -> None:
    """Twenty downloads as streams of one connection."""
    arguments = options(lbd, world, way, "/big?[1-20]")
    curl(program, "--parallel", "--parallel-immediate", *arguments, "--output", f"{tmp_path}/#1")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 20
    assert all(file.read_bytes() == BODY for file in files)


@pytest.mark.parametrize("way", ["https1", "h2"])
def test_verified(program: Program, lbd: Served, world: World, way: str) -> None:
    """curl checks name and chain: without the authority it refuses."""
    arguments = options(lbd, world, way, "/get")
    arguments[arguments.index("--cacert") + 1] = "/etc/ssl/certs/ca-certificates.crt"
    with pytest.raises(AssertionError, match=r"curl: (60|77)"):
        curl(program, *arguments)


def test_redirect_is_followed(program: Program, lbd: Served, world: World) -> None:
    port = lbd.ports["secure"][1]
    with Served(REDIRECT, port=port) as before:
        entry = before.ports["web"][1]
        resolve = [item for one in (entry, port) for item in ("--resolve", f"a.test:{one}:127.0.0.1")]
        said = curl(program, "--cacert", str(world.ca_file), *resolve, "--location", "--data", "x=1",
                    f"http://a.test:{entry}/form?q")
    report = json.loads(said)
    assert (report["method"], report["target"], report["length"]) == ("POST", "/form?q", 3)
