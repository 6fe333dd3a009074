"""The dashboard in a real Chromium: what it shows and changes, and what it does without an answer."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from admin.asking import JSON, ask, endpoint, patch
from harness.browser import Browser
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import TIMEOUT, eventually

from lbd import __version__
from lbd.cli.top_reading import quantile

CONFIG = """
environment: testing
state_directory: <state>
admin: {bind: "127.0.0.1:0"<token>}
listeners:
  - {name: web, bind: "127.0.0.1:0", routes: [{match: {path: /broken}, cluster: broken}, {cluster: app}]}
clusters:
  - name: app
    endpoints:
      - {address: <origin>, name: one, weight: 2}
      - {address: "127.0.0.1:2", name: two, weight: 0}
  - {name: broken, breaker: {consecutive: 1, open: 1h}, endpoints: [{address: "127.0.0.1:1", name: gone}]}
"""
TOKEN = "correct-horse-battery"
HOSTILE = "unix:/run/<img src=x onerror=document.title=1>&amp;.sock"
TWO = '{address: "127.0.0.1:2", name: two, weight: 0}'
ROW = "tr.cluster:nth-of-type(1)"
ENDPOINT = "tr.endpoint:nth-of-type(2)"


@pytest.fixture(scope="module")
def browser(program: Callable[[str], str], tmp_path_factory: Any) -> Iterator[Browser]:
    with Browser(program("chromium"), tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Browser]:
    """An empty one. Whatever a test does there, no script fails, and nobody but lbd is asked."""
    browser.open("about:blank")
    browser.requested.clear()
    browser.trouble.clear()
    browser.size(1280, 900)
    browser.prefer("light")
    yield browser
    assert browser.trouble == []
    asked = [url for url in browser.requested if not url.startswith("data:")]
    assert {url.split("/")[2].partition(":")[0] for url in asked} <= {"127.0.0.1"}


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


def started(origin: EchoOrigin, directory: Path, config: str = CONFIG, token: str = "") -> Lbd:
    guard = f", token: {token}" if token else ""
    return Lbd(config, origin=origin, state=directory / "state", token=guard)


@pytest.fixture
def lbd(origin: EchoOrigin, tmp_path: Path) -> Iterator[Lbd]:
    with started(origin, tmp_path) as lbd:
        yield lbd


def show(page: Browser, lbd: Lbd) -> None:
    page.open(lbd.url("admin") + "/dashboard")
    page.until("document.querySelectorAll('tr.cluster').length > 0", "the clusters")


@contextmanager
def traffic(lbd: Lbd) -> Iterator[None]:
    """One request after the other, until it ends."""
    over = threading.Event()

    def run() -> None:
        with lbd.connect() as client:
            while not over.is_set():
                client.ask(get())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def open_cluster(page: Browser) -> None:
    """The first one, with its two endpoints."""
    page.click(f"{ROW} .name")
    page.until("document.querySelectorAll('tr.endpoint').length === 2", "its endpoints")


def state_shown(page: Browser, selector: str, text: str) -> None:
    eventually(lambda: page.text(f"{selector} .c-state") == text, f"{selector}: {text}", 2 * TIMEOUT)


# what it shows


def test_everything_is_there(page: Browser, lbd: Lbd) -> None:
    assert lbd.ask(get("/broken")).status == 502
    show(page, lbd)
    assert page.texts("tr.cluster .name") == ["app", "broken"]
    assert page.text(f"{ROW} .c-state") == "2/2 usable"
    open_cluster(page)
    assert page.texts("tr.endpoint .name") == ["one", "two"]
    assert page.texts("tr.endpoint .c-weight") == ["2", "0"]
    assert page.texts("tr.endpoint .c-notes bdi") == ["", "weight 0"]
    about = page.text("#about")
    assert about.startswith(f"testing · {__version__} · pid {lbd.pid} · up ") and "config of " in about
    assert page.texts("#listeners tbody tr")[0].split("\t")[:3] == ["web", "127.0.0.1:0", "http"]
    assert page.texts("#processes tbody tr")[0].split("\t")[:2] == ["lbd", str(lbd.pid)]
    assert "cluster broken: breaker open" in page.texts("#events bdi")
    assert "breakers: broken: open" in page.texts("#problem-list li")
    assert page.text("tr.cluster:nth-of-type(4) .c-notes").startswith("breaker open")
    assert "connect_failed" in page.text("#answers")


def test_it_is_live(page: Browser, lbd: Lbd) -> None:
    show(page, lbd)
    assert page.text("#tile-rate") in ("–", "0")
    with traffic(lbd):
        page.until("parseFloat(document.getElementById('tile-rate').textContent) > 0", "a rate")
        page.until(f"parseFloat(document.querySelector('{ROW} .c-rate').textContent) > 0", "a cluster's")
        assert page.text(f"{ROW} .c-p99").endswith("s") and page.text(f"{ROW} .c-errors") == "0.0%"
        line = f"document.querySelector('{ROW} .spark .line').getAttribute('d')"
        page.until(f"{line}.includes('L')", "its line")
    page.until("document.getElementById('tile-rate').textContent === '0'", "nothing any more", 4 * TIMEOUT)
    count = int(lbd.metric("lbd_requests_total", code="200"))
    row = [text for text in page.texts("#answers tbody tr") if text.startswith("2xx")]
    assert row == [f"2xx\t0\t{count:,}"]


def test_quantiles_are_those_of_top(page: Browser, lbd: Lbd) -> None:
    show(page, lbd)
    dice, bounds = random.Random(7), [0.001 * 2**i for i in range(10)]
    assert page.evaluate("[increase(5, 3), increase(1, 5)]") == [2, 1], "which has begun anew"
    for _ in range(30):
        parts = sorted((i, dice.randint(1, 50)) for i in dice.sample(range(11), dice.randint(1, 11)))
        q = dice.choice([0.5, 0.99])
        counts = dict(parts)
        rows = [(bound, float(sum(counts.get(j, 0) for j in range(i + 1))))
                for i, bound in enumerate([*bounds, float("inf")])]
        found = page.evaluate(f"quantile({q}, {json.dumps(parts)}, {bounds})")
        assert found == pytest.approx(quantile(q, rows))


def test_names_and_lines_are_text(page: Browser, origin: EchoOrigin, tmp_path: Path) -> None:
    config = CONFIG.replace(TWO, json.dumps({"address": HOSTILE}))
    with started(origin, tmp_path, config) as lbd:
        show(page, lbd)
        open_cluster(page)
        assert HOSTILE in page.texts("tr.endpoint .name")
        assert patch(lbd, "app", HOSTILE, state="draining").status == 200
        page.shows("#events", f"set endpoint app/{HOSTILE}: state ready -> draining")
        page.evaluate("[...document.querySelectorAll('tr.endpoint')].at(-1).click()")
        page.shows("dialog h2", f"app/{HOSTILE}")
        assert page.evaluate("document.querySelectorAll('img, script[src]').length") == 0
        assert page.evaluate("document.title") != "1"
        script = "(() => { try { document.body.innerHTML = '<b>'; } catch { return 'refused'; } })()"
        assert page.evaluate(script) == "refused", "Trusted Types keep scripts from making HTML of text"
        page.trouble.clear()  # which the browser reports


def test_without_requests_nothing_is_drawn_anew(page: Browser, origin: EchoOrigin, tmp_path: Path) -> None:
    many = "".join(f"  - {{name: c{i}, endpoints: ['127.0.0.1:{i + 1}']}}\n" for i in range(300))
    with started(origin, tmp_path, CONFIG + many) as lbd:
        show(page, lbd)
        page.until("document.querySelectorAll('tr.cluster').length === 302")
        page.until("document.querySelector('tr.cluster .c-rate').textContent === '0'", "two readings")
        page.evaluate("""(window.changes = 0, new MutationObserver(all => { changes += all.length; }).observe(
            rows, {subtree: true, childList: true, characterData: true, attributes: true}))""")
        at = page.evaluate("performance.now()")
        page.until(f"performance.getEntriesByType('resource').filter(e => e.responseEnd > {at}).length > 2")
        assert page.evaluate("changes") == 0
        page.press("/", *"c299")
        page.until("document.querySelectorAll('tr.cluster').length === 1")
        assert page.texts("tr.cluster .name") == ["c299"]
        page.press("Escape")
        page.until("document.querySelectorAll('tr.cluster').length === 302")


# what it changes


def test_draining_by_the_mouse(page: Browser, lbd: Lbd) -> None:
    show(page, lbd)
    open_cluster(page)
    page.click(f"{ENDPOINT} .actions button")
    text = page.until("document.querySelector('dialog[open]')?.innerText")
    assert text.startswith("Drain app/one?") and "no new requests but those of its sessions" in text
    assert "1 of 2 endpoints of app remain usable" in text
    assert endpoint(lbd, "app", "one")["state"] == "ready", "nothing happens before it is confirmed"
    page.click("dialog .primary")
    state_shown(page, ENDPOINT, "draining")
    assert endpoint(lbd, "app", "one")["state"] == "draining"
    said = "admin: 127.0.0.1 set endpoint app/one: state ready -> draining"
    assert any(line.endswith(said) for line in lbd.lines)
    assert page.text("#said") == "app/one: draining"
    page.click(f"{ENDPOINT} .actions button")
    page.click("dialog .primary")
    state_shown(page, ENDPOINT, "ready")


def test_everything_by_keys(page: Browser, lbd: Lbd) -> None:
    show(page, lbd)
    page.press("j", "Enter", "j")
    eventually(lambda: page.evaluate("document.activeElement.matches('tr.endpoint:focus-visible')"))
    page.press("w")
    page.until("document.activeElement?.id === 'weight'")
    page.press("7")
    assert "By weight it gets" in page.text("#weight-effect")
    page.press("Enter")
    eventually(lambda: endpoint(lbd, "app", "one")["weight"]["wanted"] == 7, "the weight")
    eventually(lambda: page.text(f"{ENDPOINT} .c-weight") == "7", "the weight is shown", 2 * TIMEOUT)
    page.press("w")
    page.until("document.activeElement?.id === 'weight'")
    page.press("Backspace", "Enter")
    eventually(lambda: endpoint(lbd, "app", "one")["weight"]["wanted"] == 2, "as configured")
    page.until("!document.querySelector('dialog').open")
    page.press("x")
    page.until("document.querySelector('dialog').open")
    page.press("Escape")
    page.until("!document.querySelector('dialog').open")
    assert endpoint(lbd, "app", "one")["state"] == "ready"
    page.press("x", "Enter")
    state_shown(page, ENDPOINT, "disabled")
    page.press("Enter")
    eventually(lambda: "Gets requests\nno: disabled" in page.text("dialog"), "all about it")


def test_a_weight_that_is_none(page: Browser, lbd: Lbd) -> None:
    show(page, lbd)
    page.press("j", "Enter", "j", "w")
    page.until("document.activeElement?.id === 'weight'")
    page.press(*"70000", "Enter")
    assert page.evaluate("document.querySelector('#weight').validity.valid") is False
    assert page.text("#weight-effect") == "A whole number, 0 to 65535."
    assert page.evaluate("document.querySelector('dialog').open")
    assert endpoint(lbd, "app", "one")["weight"]["wanted"] == 2


def test_what_the_api_refuses_is_said(page: Browser, lbd: Lbd) -> None:
    show(page, lbd)
    page.press("j", "Enter", "j", "j", "d")
    page.until("document.querySelector('dialog[open]')?.innerText.startsWith('Drain app/two?')")
    file = lbd.directory / "lbd.yaml"
    file.write_text(file.read_text().replace(f"- {TWO}", ""))
    assert ask(lbd, "POST", "/api/reload", JSON).status == 200
    page.press("Enter")
    page.shows("dialog .error", "there is no endpoint 'two' in cluster 'app'")
    assert page.evaluate("document.querySelector('dialog').open")
    page.press("Escape")
    page.until("document.querySelectorAll('tr.endpoint').length === 1", "it has gone from the table")


def test_behind_something_that_lets_nobody_change(page: Browser, origin: EchoOrigin, tmp_path: Path) -> None:
    """Through lbd itself, as a proxy before its own admin listener."""
    proxy = "routes: [{match: {method: PATCH}, respond: {status: 403, body: no}}, {cluster: own}]"
    config = CONFIG.replace('"127.0.0.1:0"<token>', f'"unix:{tmp_path}/admin.sock"')
    config = config.replace("routes: [{match: {path: /broken}, cluster: broken}, {cluster: app}]", proxy)
    config += f"  - {{name: own, endpoints: ['unix:{tmp_path}/admin.sock']}}\n"
    with Lbd(config, origin=origin, state=tmp_path / "state") as lbd:
        page.open(lbd.url() + "/")
        page.until("document.querySelectorAll('tr.cluster').length === 3")
        page.press("j", "Enter", "j", "d")
        page.until("document.querySelector('dialog').open")
        page.press("Enter")
        page.shows("dialog .error", "status 403, without a word of lbd")
        assert page.evaluate("document.querySelector('dialog .primary').disabled")
        page.press("Escape")
        buttons = "[...document.querySelectorAll('.actions button')]"
        page.until(f"{buttons}.every(one => one.disabled && one.title)")


def test_nothing_else_is_usable(page: Browser, lbd: Lbd) -> None:
    patch(lbd, "app", "two", state="disabled")
    show(page, lbd)
    page.press("j", "Enter", "j", "d")
    page.until("document.querySelector('dialog .warning')?.textContent.includes('its requests will fail')")


# when lbd does not answer


def test_silence_and_a_restart(page: Browser, origin: EchoOrigin, tmp_path: Path) -> None:
    with started(origin, tmp_path) as lbd:
        for _ in range(3):
            lbd.ask(get())
        show(page, lbd)
        page.shows("#answers", "2xx\t0\t3")
        lbd.signal(signal.SIGSTOP)
        page.until("document.body.classList.contains('stale')", "the data is old", 4 * TIMEOUT)
        assert "lbd does not answer since " in page.text("#stale") and page.text("#health") == "no answer"
        assert page.text("#age").startswith("data is ")
        lbd.signal(signal.SIGCONT)
        page.until("!document.body.classList.contains('stale')", "it answers again", 4 * TIMEOUT)
        address, pid = "{}:{}".format(*lbd.address("admin")), lbd.pid
    page.until("document.body.classList.contains('stale')", "it has gone", 4 * TIMEOUT)
    open_cluster(page)
    assert page.evaluate("document.querySelector('.actions button').disabled")
    with started(origin, tmp_path, CONFIG.replace("127.0.0.1:0", address, 1)) as lbd:
        lbd.ask(get())
        page.shows("#about", f"pid {lbd.pid}", 4 * TIMEOUT)
        page.shows("#answers", "2xx\t0\t1")  # counters begin anew
        assert not page.evaluate("document.body.classList.contains('stale')")
        page.shows("#events .break", f"lbd has been restarted: pid {pid}, now {lbd.pid}")
        page.until("!document.querySelector('.actions button').disabled")


def test_the_token_stays_in_the_tab(page: Browser, origin: EchoOrigin, tmp_path: Path) -> None:
    with started(origin, tmp_path, token=TOKEN) as lbd:
        page.open(lbd.url("admin") + "/")
        page.until("document.activeElement?.id === 'token'", "it asks for the token")
        assert page.text("#main tr.cluster") == ""
        page.press(*"wrong-horse-battery", "Enter")
        page.shows("dialog .error", "That token was refused.")
        page.press(*TOKEN, "Enter")
        page.until("document.querySelectorAll('tr.cluster').length === 2")
        assert page.evaluate("Object.values(sessionStorage)") == [TOKEN]
        assert page.evaluate("Object.values(localStorage)") == [] and page.evaluate("document.cookie") == ""
        assert not any(TOKEN in url for url in page.requested)
        page.open(lbd.url("admin") + "/dashboard")
        page.until("document.querySelectorAll('tr.cluster').length === 2", "the same tab knows it")
        page.press("j", "Enter", "j", "d", "Enter")
        state_shown(page, ENDPOINT, "draining")


def test_a_pause(page: Browser, lbd: Lbd) -> None:
    show(page, lbd)
    page.press("p")
    page.until("document.getElementById('age').textContent.startsWith('paused')")
    lbd.ask(get())
    asked = len(page.requested)
    page.until("document.getElementById('age').textContent.includes('3 s old')", timeout=3 * TIMEOUT)
    assert len(page.requested) == asked
    page.press("p")
    page.shows("#answers", "2xx\t0\t1")
    assert len(page.requested) > asked


def test_nothing_is_asked_while_nobody_looks(page: Browser, lbd: Lbd) -> None:
    show(page, lbd)
    look = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(f"(Object.defineProperty(document, 'hidden', {{value: true, configurable: true}}), {look})")
    at = page.evaluate("performance.now()")
    page.until(f"performance.now() > {at} + 3000", timeout=3 * TIMEOUT)
    asked = f"performance.getEntriesByType('resource').filter(one => one.startTime > {at}).length"
    assert page.evaluate(asked) == 0
    page.evaluate(f"(delete document.hidden, {look})")
    page.until(asked)


# how it looks


def background(page: Browser) -> int:
    """How bright it is, 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return int(colour.removeprefix("rgb(").partition(",")[0])


def test_light_and_dark(page: Browser, lbd: Lbd) -> None:
    show(page, lbd)
    assert background(page) > 200
    page.prefer("dark")
    assert background(page) < 50
    page.press("t")  # light, whatever the system says
    assert background(page) > 200 and page.text("#theme") == "Light"
    show(page, lbd)
    assert background(page) > 200, "it is remembered"
    page.prefer("light")
    page.press("t")
    assert background(page) < 50 and page.text("#theme") == "Dark"


@pytest.mark.parametrize("width", [320, 360, 800, 1280])
def test_no_sideways_scrolling(page: Browser, origin: EchoOrigin, tmp_path: Path, width: int) -> None:
    long = "n" * 64
    config = CONFIG.replace("name: one", f"name: {long}").replace("name: broken", f"name: {'b' * 60}")
    config = config.replace("cluster: broken", f"cluster: {'b' * 60}")
    with started(origin, tmp_path, config) as lbd:
        page.size(width, 800)
        show(page, lbd)
        lbd.ask(get("/broken"))
        open_cluster(page)
        page.until("document.querySelectorAll('#problem-list li').length > 0")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert long in page.texts("tr.endpoint .name")
        page.click(f"{ENDPOINT} .name")
        page.until("document.querySelector('dialog').open")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert "Drain" in page.texts("dialog button"), "what a phone has no room for in the table"


def test_whoever_cannot_see_it(page: Browser, lbd: Lbd) -> None:
    patch(lbd, "app", "two", state="disabled")
    show(page, lbd)
    open_cluster(page)
    for width in (1280, 360):
        page.size(width, 800)
        assert page.evaluate(f"document.querySelector('{ROW}').ariaExpanded") == "true"
        roles = ["rowgroup", "row", "columnheader", "rowheader", "cell"]
        assert page.evaluate(f"{roles}.filter(role => !clusters.querySelector(`[role=${{role}}]`))") == []
        states = ["1/2 usable", "ready", "disabled", "1/1 usable"]
        assert page.texts("tbody .c-state") == states, "not by colour alone"
    unnamed = page.evaluate("""[...document.querySelectorAll("button, input, select")].filter(
        one => !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).length""")
    assert unnamed == 0
    assert page.evaluate("[stale.role, said.role, problems.ariaLive]") == ["alert", "status", "polite"]
    page.press("?")
    page.shows("dialog", "next and previous row")
