"""What is wrong with a configuration, and where: the only exception that loading raises."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ConfigError:
    """One mistake. Line and column count from 1; line 0 means the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigErrors(Exception):
    """All mistakes of a configuration, sorted by position, each once."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = sorted(set(errors))
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
