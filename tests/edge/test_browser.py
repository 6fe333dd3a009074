"""A real browser through lbd: a page with style, script, pictures, fetch, server-sent events and a WebSocket,
over HTTP/2 and TLS. The page reports what it got; the endpoint keeps the report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.waiting import TIMEOUT, eventually
from tls.speaking import Served, World
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

Program = Callable[[str], str]
CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    hsts: true
    tls: {certificates: [<site>]}
    routes:
      - {match: {path: /socket}, cluster: sockets}
      - {cluster: pages}
clusters:
  - {name: pages, endpoints: [<pages>]}
  - {name: sockets, endpoints: [<sockets>]}
"""
IMAGES = 40
PAGE = """<!doctype html><title>lbd</title><link rel=stylesheet href=/style.css><script src=/app.js></script>
<body><p id=out>waiting</p>IMAGES</body>"""
PICTURE = b"""<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>"""
SCRIPT = """
const got = {};
function done(name, value) {
  got[name] = value;
  if (Object.keys(got).length === 6) fetch('/report', {method: 'POST', body: JSON.stringify(got)});
}
addEventListener('load', () => {
  done('images', [...document.images].filter(i => i.complete && i.naturalWidth === 4).length);
  done('protocol', performance.getEntriesByType('navigation')[0].nextHopProtocol);
  done('style', getComputedStyle(document.getElementById('out')).color);
  fetch('/up', {method: 'POST', body: 'x'.repeat(300000)}).then(r => r.text()).then(t => done('fetch', t));
  const events = new EventSource('/events');
  const seen = [];
  events.onmessage = e => {
    seen.push(e.data);
    if (seen.length === 3) { events.close(); done('events', seen); }
  };
  const socket = new WebSocket('wss://' + location.host + '/socket');
  socket.onopen = () => socket.send('hello '.repeat(20000));
  socket.onmessage = e => { done('socket', e.data.length); socket.close(); };
});
"""


def answer(seen: Seen) -> Answer:
    kinds: dict[str, tuple[str, bytes]] = {
        "/": ("text/html", PAGE.replace(
            "IMAGES", "".join(f"<img src=/i/{n}.svg>" for n in range(IMAGES))).encode()),
        "/style.css": ("text/css", b"p { color: rgb(1, 2, 3) }"),
        "/app.js": ("text/javascript", SCRIPT.encode()),
        "/up": ("text/plain", str(len(seen.body)).encode()),
        "/events": ("text/event-stream", b"data: a\n\ndata: b\n\ndata: c\n\n"),
    }
    kind, body = kinds.get(seen.target, ("image/svg+xml", PICTURE))
    return Answer(fields=[("content-type", kind)], body=body, chunked=seen.target in ("/events", "/app.js"))


def echo_socket(connection: ServerConnection) -> None:
    try:
        for message in connection:
            connection.send(message)
    except ConnectionClosed:
        pass


@pytest.fixture
def sockets() -> Iterator[str]:
    server = serve(echo_socket, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.socket.getsockname()[1]}"
    server.shutdown()
    thread.join()


@contextmanager
def browser(program: Program, profile: Path, url: str) -> Iterator[None]:
    command = [
        program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--ignore-certificate-errors", f"--user-data-dir={profile}",
        "--host-resolver-rules=MAP a.test 127.0.0.1", "--remote-debugging-port=0", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: the browser and its helpers
        process.wait()


def test_a_page_with_everything(program: Program, world: World, tmp_path: Path, sockets: str) -> None:
    with HttpOrigin(answer) as pages, \
            Served(CONFIG, site=world.pair("site"), pages=pages, sockets=sockets) as lbd, \
            browser(program, tmp_path / "profile", lbd.https()):
        report = eventually(lambda: [seen for seen in pages.complete if seen.target == "/report"],
                            "the page's report", timeout=4 * TIMEOUT)
        assert json.loads(report[0].body) == {
            "images": IMAGES, "protocol": "h2", "style": "rgb(1, 2, 3)", "fetch": "300000",
            "events": ["a", "b", "c"], "socket": 120_000}
        socket = eventually(lambda: [line for line in lbd.output if '"/socket"' in line], "the log's line")
        assert json.loads(socket[0])["protocol"] == "HTTP/2.0", "RFC 8441"
        assert lbd.metric("lbd_http2_connections_total") >= 1
        wrong = [line for line in lbd.output if '"reason"' in line]
        assert wrong == []
        # a browser may drop a connection in its handshake that it does not need after all
        assert lbd.metric("lbd_errors_total") == lbd.errors("handshake_failed")
        assert lbd.said() == []
    assert pages.malformed == []
    assert len({seen.target for seen in pages.complete}) >= IMAGES + 5
