from collections.abc import Iterable

FIELDS: tuple[str, ...]
NOT_BY_DEFAULT: frozenset[str]

class LineWriter:
    json: bool
    def __init__(
        self, format: str, fields: Iterable[str] | None = None, environment: str | None = None
    ) -> None: ...
    def format(self, target: bytes, agent: bytes, times: int = 1) -> bytes: ...
