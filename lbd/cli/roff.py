"""Roff: the few man(7) macros that the manual pages need."""

from __future__ import annotations

from collections.abc import Iterable


def escape(text: str) -> str:
    """Text that stands for itself, on one line."""
    flat = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{flat}" if flat.startswith((".", "'")) else flat


class Page:
    """One manual page of section 1, built from top to bottom."""

    def __init__(self, name: str, version: str) -> None:
        self._lines = [f'.TH "{name.upper()}" "1" "" "lbd {version}" "lbd"', ".nh", ".ad l"]

    def __str__(self) -> str:
        return "\n".join((*self._lines, ""))

    def section(self, title: str) -> None:
        self._lines.append(f".SH {title}")

    def part(self, title: str) -> None:
        """Of a section."""
        self._lines.append(f".SS {escape(title)}")

    def text(self, text: str) -> None:
        """Paragraphs, which empty lines divide."""
        for paragraph in text.strip().split("\n\n"):
            self._lines += [".PP", escape(paragraph)]

    def usage(self, command: str, pieces: Iterable[str]) -> None:
        """The command in bold and what follows it."""
        self._lines += [".PP", f"\\fB{escape(command)}\\fR {escape(' '.join(pieces))}".rstrip()]

    def code(self, *lines: str) -> None:
        """As it is, indented."""
        self._lines += [".PP", ".RS 4", ".nf", *map(escape, lines), ".fi", ".RE"]

    def terms(self, rows: Iterable[tuple[str, str]]) -> None:
        """Each in bold, and what it is. A long list of choices may be broken."""
        for term, text in rows:
            broken = escape(term).replace("|", "|\\:")
            self._lines += [".TP", f"\\fB{broken}\\fR", escape(text)]

    def names(self, names: Iterable[str]) -> None:
        """Other pages of section 1."""
        said = ", ".join(f"\\fB{escape(name)}\\fR(1)" for name in names)
        self._lines += [".PP", said]
