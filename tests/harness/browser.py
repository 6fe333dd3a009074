"""A real Chromium without a window, driven over the DevTools protocol: a page, its clicks and requests."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

from harness.waiting import TIMEOUT, eventually

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
         "--remote-debugging-port=0", "about:blank")
KEYS = {"Enter": ("\r", 13), "Escape": ("", 27), "Backspace": ("", 8)}


class Browser:
    """with Browser(program("chromium"), tmp_path) as page: page.open(url); page.click("#go")"""

    def __init__(self, chromium: str, directory: Path) -> None:
        self.chromium, self.profile = chromium, directory / "profile"
        self.requested: list[str] = []  # addresses, in order
        self.trouble: list[str] = []  # exceptions, and what the console calls an error
        self._numbers = itertools.count(1)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [self.chromium, *FLAGS[:-1], f"--user-data-dir={self.profile}", FLAGS[-1]],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            place = eventually(self._place, "chromium listens", timeout=4 * TIMEOUT)
            self._socket = self._stack.enter_context(connect(place, max_size=None))
            targets = self._call("Target.getTargets", session=None)["targetInfos"]
            page = next(target["targetId"] for target in targets if target["type"] == "page")
            self._session = self._call(
                "Target.attachToTarget", session=None, targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self._call(f"{domain}.enable")
        except BaseException:
            self._stack.close()
            self._kill()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()
        self._kill()

    def _kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)  # its own session: the browser and its children
        self.process.wait()

    def _place(self) -> str | None:
        assert self.process.poll() is None, "chromium has ended"
        file = self.profile / "DevToolsActivePort"
        lines = file.read_text().split() if file.exists() else []
        return f"ws://127.0.0.1:{lines[0]}{lines[1]}" if len(lines) == 2 else None

    # the protocol

    def _call(self, method: str, session: str | None = "own", **params: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if session else {})))
        while True:
            said = json.loads(self._socket.recv(timeout=4 * TIMEOUT))
            if said.get("id") == number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]
            self._note(said)

    def _note(self, event: dict[str, Any]) -> None:
        params, method = event.get("params", {}), event.get("method")
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.trouble.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.trouble.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["source"] in ("security", "violation"):
            self.trouble.append(params["entry"]["text"])

    # the page

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression; promises are waited for."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """What stands there, as people see it; "" when it is not there or hidden."""
        found = f"document.querySelector({json.dumps(selector)})"
        return str(self.evaluate(f"{found}?.checkVisibility() ? {found}.innerText : ''"))

    def texts(self, selector: str) -> list[str]:
        return list(self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].filter(one => one.checkVisibility())"
            ".map(one => one.innerText)"))

    def until(self, script: str, what: str = "", timeout: float = 2 * TIMEOUT) -> Any:
        """Ask until it is true."""
        return eventually(lambda: self.evaluate(script), what or script, timeout)

    def shows(self, selector: str, text: str, timeout: float = 2 * TIMEOUT) -> None:
        """Wait until this stands there."""
        eventually(lambda: text in self.text(selector), f"{selector} shows {text!r}", timeout)

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of it."""
        x, y = self.until(f"""(() => {{
            const one = document.querySelector({json.dumps(selector)});
            if (!one || !one.checkVisibility()) return null;
            one.scrollIntoView({{block: "center"}});
            const box = one.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()""", f"{selector} is there")
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, *keys: str) -> None:
        """Enter, Escape, Backspace, or what a character key writes."""
        for key in keys:
            text, code = KEYS.get(key, (key, ord(key[0].upper())))
            more = {"text": text} if text else {}
            self._call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **more)
            self._call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def size(self, width: int, height: int) -> None:
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                   mobile=width < 500)

    def prefer(self, colours: str) -> None:
        """`light` or `dark`."""
        wanted = {"name": "prefers-color-scheme", "value": colours}
        self._call("Emulation.setEmulatedMedia", features=[wanted])

    def picture(self, path: Path, whole: bool = True) -> None:
        """A PNG of the page."""
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
