from collections.abc import Callable, Iterable
from typing import Protocol

from lbd.engine.observer import Observer

class Destination(Protocol):
    def write(self, data: bytes) -> tuple[int, OSError | None]: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...

class FileTarget:
    def __init__(self, name: str) -> None: ...
    def write(self, data: bytes) -> tuple[int, OSError | None]: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...

class LogWriter:
    target: str
    trouble: str | None
    dropped: int
    lines: int
    def __init__(
        self,
        target: str,
        destination: Destination | None = None,
        on_trouble: Callable[[str, OSError | None], None] | None = None,
    ) -> None: ...
    def reopen(self) -> None: ...
    def close(self, timeout: float = 2.0) -> None: ...
    def put(self, line: bytes) -> bool: ...

class TextLog(Observer):
    writer: LogWriter
    def __init__(
        self,
        writer: LogWriter,
        format: str,
        *,
        fields: Iterable[str] | None = None,
        environment: str | None = None,
        sample: float = 1.0,
        slow_us: int = 1000000,
    ) -> None: ...
