"""A real browser through lbd: a page with style, scripts, pictures, fetch, server-sent events and a WebSocket,
over HTTP/2 and TLS. The page writes what it got into its body; the test reads the DOM that comes out."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.http_origin import Answer, HttpOrigin, Seen
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
  if (Object.keys(got).length === 6) document.getElementById('out').textContent = JSON.stringify(got);
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


def dump_dom(program: Program, profile: Path, url: str) -> str:
    """The page after its scripts, when 8 s of the browser's own time have passed or all is quiet."""
    command = [
        program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--ignore-certificate-errors", f"--user-data-dir={profile}",
        "--host-resolver-rules=MAP a.test 127.0.0.1", "--virtual-time-budget=8000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, timeout=50, check=True, text=True)
    return done.stdout


def test_a_page_with_everything(program: Program, world: World, tmp_path: Path, sockets: str) -> None:
    program("chromium")
    with HttpOrigin(answer) as pages, \
            Served(CONFIG, site=world.pair("site"), pages=pages, sockets=sockets) as lbd:
        dom = dump_dom(program, tmp_path, lbd.https())
        found = re.search(r"<p id=\"out\">(\{.*?\})</p>", dom)
        assert found, dom[:2000]
        got = json.loads(found[1].replace("&quot;", '"'))
        assert got == {"images": IMAGES, "protocol": "h2", "style": "rgb(1, 2, 3)", "fetch": "300000",
                       "events": ["a", "b", "c"], "socket": 120_000}
        assert lbd.metric("lbd_http2_connections_total") >= 1
        print(lbd.output)
        assert lbd.metric("lbd_errors_total") == 0
        assert lbd.said() == []
    assert pages.malformed == []
    assert len({seen.target for seen in pages.complete}) >= IMAGES + 5
