"""The terminal of `lbd top`, by curses: draws lines, takes keys. lbd may go and come back meanwhile."""

from __future__ import annotations

import contextlib
import curses
import time
from dataclasses import replace

from lbd.cli.admin_client import AdminClient, NotRunning, printable
from lbd.cli.top_reading import Figures, Reading, figures
from lbd.cli.top_table import BAD, HEAD, SORTS, View, lines

ENTER, ESCAPE, BACKSPACE = ("\n", "\r"), "\x1b", ("\x7f", "\b")
LONGEST_FILTER = 100
KEYS = "q quit  s sort: {sort}  / filter: {filter}"


def watch(client: AdminClient, view: View, interval: float) -> None:
    """Until somebody says q. NotRunning when there is nobody from the start; Refused."""
    before = Reading.take(client)
    with contextlib.suppress(KeyboardInterrupt):  # is how some end it
        curses.wrapper(lambda window: _Screen(window, client, view, interval).run(before))


class _Screen:
    def __init__(self, window: curses.window, client: AdminClient, view: View, interval: float) -> None:
        self.window = window
        self.client = client
        self.view = view
        self.interval = interval
        self.figures: Figures | None = None
        self.trouble = ""  # why there is nothing new
        self.typing = False
        self.top = 0  # the first row that is seen
        self.page = 1
        self.styles = _styles()

    def run(self, before: Reading) -> None:
        """Readings at their time, keys at once."""
        with_cursor = curses.tigetstr("civis") is not None
        if with_cursor:
            curses.curs_set(0)
        due = before.when + min(self.interval, 1.0)  # something to see soon
        last: Reading | None = before
        while True:
            if time.monotonic() >= due:
                last = self._read(last)
                due = time.monotonic() + self.interval
            self._draw()
            self.window.timeout(max(1, int((due - time.monotonic()) * 1000)))
            try:
                key = self.window.get_wch()
            except curses.error:  # it was time
                continue
            if not self._on_key(key):
                return

    def _read(self, before: Reading | None) -> Reading | None:
        try:
            after = Reading.take(self.client)
        except NotRunning as error:
            self.trouble = str(error)
            return None  # whoever answers next has begun anew
        self.trouble = ""
        if before is not None:
            self.figures = figures(before, after)
        return after

    def _on_key(self, key: str | int) -> bool:
        """False when it was the last one."""
        if self.typing:
            self._on_typed(key)
        elif key in ("q", "Q"):
            return False
        elif key == "s":
            names = list(SORTS)
            self.view = replace(self.view, sort=names[(names.index(self.view.sort) + 1) % len(names)])
        elif key == "/":
            self.typing = True
        elif key in _MOVES:
            self.top = max(0, self.top + _MOVES[key] * (self.page if key in _PAGES else 1))
        elif key == curses.KEY_HOME:
            self.top = 0
        return True

    def _on_typed(self, key: str | int) -> None:
        text = self.view.text
        if key in ENTER or key == curses.KEY_ENTER:
            self.typing = False
        elif key == ESCAPE:
            self.typing, text = False, ""
        elif key in BACKSPACE or key == curses.KEY_BACKSPACE:
            text = text[:-1]
        elif isinstance(key, str) and key.isprintable() and len(text) < LONGEST_FILTER:
            text += key
        self.view = replace(self.view, text=text)
        self.top = 0

    def _draw(self) -> None:
        height, width = self.window.getmaxyx()
        self.window.erase()
        shown = list(lines(self.figures, self.view)) if self.figures else [(HEAD, "reading...")]
        fixed, rest = shown[:2], shown[2:]
        self.page = max(1, height - len(fixed) - 1)
        self.top = min(self.top, max(0, len(rest) - self.page))
        if self.trouble:
            fixed[-1] = (BAD, printable(self.trouble))
        for y, (kind, text) in enumerate([*fixed, *rest[self.top : self.top + self.page]][: height - 1]):
            self._put(y, text, self.styles.get(kind, 0), width)
        cursor = "_" if self.typing else ""
        keys = KEYS.format(
            sort=self.view.sort, filter=(self.view.text or ("" if self.typing else "none")) + cursor
        )
        self._put(height - 1, keys, self.styles[HEAD], width)
        self.window.refresh()

    def _put(self, y: int, text: str, style: int, width: int) -> None:
        """The last column stays free: curses cannot write the corner."""
        if y < 0 or width < 2:
            return
        with contextlib.suppress(curses.error):  # characters that take two columns do not fit any more
            self.window.addnstr(y, 0, text, width - 1, style)


_MOVES = {curses.KEY_UP: -1, curses.KEY_DOWN: 1, "k": -1, "j": 1, curses.KEY_PPAGE: -1, curses.KEY_NPAGE: 1}
_PAGES = (curses.KEY_PPAGE, curses.KEY_NPAGE)


def _styles() -> dict[str, int]:
    styles = {HEAD: curses.A_BOLD, BAD: curses.A_BOLD}
    if curses.has_colors():
        curses.use_default_colors()
        curses.init_pair(1, curses.COLOR_RED, -1)
        styles[BAD] = curses.color_pair(1)
    return styles
