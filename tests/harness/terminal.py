"""A terminal for programs that draw: a pty, and enough of a VT100 to say what stands on the screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from typing import Self

from harness.waiting import TIMEOUT, eventually

SEQUENCE = re.compile(rb"\x1b\[(\??[\d;]*)([A-Za-z])|\x1b[()][AB0]|\x1b[=>78M]|[\x0e\x0f\x07]")


class Terminal:
    """with Terminal(["top"]) as terminal: terminal.type("q")"""

    def __init__(self, command: list[str], env: dict[str, str], rows: int = 24, columns: int = 120) -> None:
        self.command, self.env, self.rows, self.columns = command, env, rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.y = self.x = 0
        self.region = 0, rows - 1  # first and last row of what scrolls
        self.left = b""

    def __enter__(self) -> Self:
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", self.rows, self.columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")}
        self.process = subprocess.Popen(
            self.command,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=_hears_interrupts,
            env={**inherited, **self.env, "TERM": "vt100", "ESCDELAY": "25"},
        )  # fmt: skip
        os.close(theirs)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    @property
    def screen(self) -> str:
        """What stands there now."""
        self.read()
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def shows(self, pattern: str) -> str:
        """Wait until it does; the screen then."""

        def look() -> str | None:
            screen = self.screen
            return screen if re.search(pattern, screen, re.MULTILINE) else None

        try:
            return eventually(look, timeout=4 * TIMEOUT)
        except AssertionError as error:
            error.add_note(f"no {pattern!r} on the screen:\n{self.screen}")
            raise

    def end(self) -> int:
        """The exit code, when it ends; what it writes meanwhile is read."""

        def ended() -> bool:
            self.read()
            return self.process.poll() is not None

        eventually(ended, "the program ends", timeout=4 * TIMEOUT)
        self.read()
        return self.process.returncode

    def read(self) -> None:
        """All that it has written so far."""
        with contextlib.suppress(OSError):  # the end of the other side
            while select.select([self.fd], [], [], 0)[0]:
                self.left += os.read(self.fd, 65536)
        while self.left:
            if self.left[:1] == b"\x1b" or self.left[:1] in b"\x0e\x0f\x07":
                match = SEQUENCE.match(self.left)
                if match is None:
                    assert len(self.left) < 16, f"unknown sequence {self.left[:16]!r}"
                    return  # the rest of it is still to come
                self.left = self.left[match.end() :]
                if match[2]:
                    self._control(match[1].decode(), match[2].decode())
                elif match[0] == b"\x1bM":
                    self._up()
            else:
                text = re.match(rb"[^\x1b\x0e\x0f\x07]+", self.left)
                assert text is not None
                self.left = self.left[text.end() :]
                for character in text[0].decode("utf-8", "replace"):
                    self._put(character)

    def _put(self, character: str) -> None:
        if character == "\r":
            self.x = 0
        elif character == "\n":
            self._down()
        elif character == "\b":
            self.x = max(0, self.x - 1)
        elif self.x < self.columns and self.y < len(self.cells):  # it may have shrunk meanwhile
            self.cells[self.y][self.x] = character
            self.x += 1

    def _control(self, parameters: str, kind: str) -> None:
        numbers = [int(part or 0) for part in parameters.split(";")] if "?" not in parameters else []
        first = max(1, numbers[0]) if numbers else 1
        if kind == "H":
            self.y, self.x = first - 1, (max(1, numbers[1]) if len(numbers) > 1 else 1) - 1
        elif kind == "J":
            self._erase(self.y, self.x)
            for y in range(self.y + 1, self.rows):
                self._erase(y, 0)
        elif kind == "K":
            if numbers == [1]:
                self.cells[self.y][: self.x + 1] = " " * (self.x + 1)
            else:
                self._erase(self.y, self.x)
        elif kind in "ABCD":
            dy, dx = {"A": (-1, 0), "B": (1, 0), "C": (0, 1), "D": (0, -1)}[kind]
            self.y, self.x = self.y + dy * first, self.x + dx * first
        elif kind == "r":
            self.region = (first - 1, numbers[1] - 1) if len(numbers) > 1 else (0, self.rows - 1)
            self.y = self.x = 0
        else:
            assert kind in "mhl", f"unknown control {parameters}{kind}"

    def _down(self) -> None:
        """A line feed; what scrolls does so at its last row."""
        first, last = self.region
        if self.y == last:
            del self.cells[first]
            self.cells.insert(last, [" "] * self.columns)
        else:
            self.y = min(self.y + 1, self.rows - 1)

    def _up(self) -> None:
        first, last = self.region
        if self.y == first:
            del self.cells[last]
            self.cells.insert(first, [" "] * self.columns)
        else:
            self.y = max(0, self.y - 1)

    def _erase(self, y: int, x: int) -> None:
        self.cells[y][x:] = " " * (self.columns - x)


def _hears_interrupts() -> None:
    """Whoever runs the tests in the background has them ignore SIGINT, which is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
