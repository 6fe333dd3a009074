"""Programs that nobody wrote for this test: nginx behind lbd, curl before it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.client import Client
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get, head, post
from harness.origin import Refusing
from harness.waiting import TIMEOUT, eventually

Program = Callable[[str], str]
PLAIN = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
NGINX = """
USER daemon off; worker_processes 1; pid DIR/pid; error_log DIR/error.log; events {}
http {
  access_log off; keepalive_timeout 60s; client_body_temp_path DIR/body; proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  server {
    listen 127.0.0.1:PORT;
    root DIR/www; absolute_redirect off;
    location = /ok { return 200 "ok $request_method $http_x_forwarded_for"; }
    location = /moved { return 302 /ok; }
    location = /gone { return 204; }
    location = /drop { return 444; }
    location /put/ { dav_methods PUT DELETE; create_full_put_path on; }
  }
}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of nginx: its configuration, and what it serves in www/."""
    path = tmp_path_factory.mktemp("nginx")
    (path / "www" / "put").mkdir(parents=True)
    (path / "www" / "big").write_bytes(os.urandom(3 << 20))
    return path


@pytest.fixture(scope="module")
def nginx(program: Program, site: Path) -> Iterator[str]:
    """The address of a real nginx. Its port is one that the kernel just chose and freed for it."""
    executable = program("nginx")
    with Refusing() as free:
        address = str(free)
    config = site / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""
    config.write_text(NGINX.replace("USER", user).replace("DIR", str(site))
                      .replace("PORT", address.split(":")[1]))
    process = subprocess.Popen([executable, "-e", str(site / "error.log"), "-c", str(config)])
    try:
        eventually(lambda: answers(address), "nginx listens", timeout=2 * TIMEOUT)
        yield address
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def answers(address: str) -> bool:
    host, port = address.split(":")
    try:
        Client((host, int(port))).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def lbd(nginx: str) -> Iterator[Lbd]:
    with Lbd(PLAIN, origin=nginx) as lbd:
        yield lbd


def test_nginx_behind(lbd: Lbd, site: Path) -> None:
    with lbd.connect() as client:
        for _ in range(50):
            assert client.ask(get("/ok")).body == b"ok GET 127.0.0.1"
        assert client.ask(get("/moved")).status == 302
        assert client.ask(get("/gone")).status == 204
        assert client.ask(head("HEAD /big HTTP/1.1", "Host: a")).one("content-length") == str(3 << 20)
        assert client.ask(get("/big")).body == (site / "www" / "big").read_bytes()
        partial = client.ask(get("/big", "Range: bytes=10-19"))
        assert (partial.status, partial.body) == (206, (site / "www" / "big").read_bytes()[10:20])
        assert client.ask(get("/missing")).status == 404


def test_nginx_drops(lbd: Lbd) -> None:
    response = lbd.ask(get("/drop"))
    assert (response.status, response.reason) == (502, "upstream_reset")


def test_put_to_nginx(lbd: Lbd, site: Path) -> None:
    body = os.urandom(1 << 20)
    request = post("/put/file", body).replace(b"POST", b"PUT", 1)
    assert lbd.ask(request).status in (201, 204, 405)  # 405: built without the dav module


def curl(program: Program, *arguments: str) -> bytes:
    return subprocess.run([program("curl"), "--silent", "--show-error", "--fail-with-body", "--max-time",
                           str(4 * TIMEOUT),
                           *arguments], check=True, capture_output=True).stdout


def test_curl_get(lbd: Lbd, site: Path, program: Program) -> None:
    assert curl(program, lbd.url() + "/ok") == b"ok GET 127.0.0.1"
    assert curl(program, lbd.url() + "/big") == (site / "www" / "big").read_bytes()
    assert curl(program, "--location", lbd.url() + "/moved") == b"ok GET 127.0.0.1"
    assert curl(program, "--http1.0", lbd.url() + "/ok") == b"ok GET 127.0.0.1"


def test_curl_upload(plain: Lbd, echo: EchoOrigin, site: Path, program: Program) -> None:
    """A body of 3 MiB: curl sends Expect: 100-continue by itself; then the same in chunks."""
    digest = hashlib.sha256((site / "www" / "big").read_bytes()).hexdigest()
    upload = f"@{site / 'www' / 'big'}"
    assert digest.encode() in curl(program, "--data-binary", upload, plain.url() + "/")
    assert digest.encode() in curl(program, "--data-binary", upload, "-H", "Transfer-Encoding: chunked",
                                   plain.url() + "/")
    assert digest.encode() in curl(program, "--data-binary", upload, "-H", "Expect: 100-continue",
                                   plain.url() + "/")


def test_curl_reuses_its_connection(lbd: Lbd, program: Program) -> None:
    urls = [lbd.url() + "/ok"] * 20
    output = curl(program, "--write-out", "%{num_connects}\n", *urls)
    connects = sum(int(line[-1:]) for line in output.decode().splitlines() if line)
    assert connects == 1
