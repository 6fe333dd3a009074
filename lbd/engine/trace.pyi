from collections.abc import Callable
from typing import Any

from lbd.engine.observer import Observer

def parse(value: bytes) -> tuple[int, int, bool] | None: ...
def accepts_state(value: bytes) -> bool: ...

class Tracer(Observer):
    id_fields: bool
    dropped: int
    sampled: int
    def __init__(
        self,
        *,
        sample: float = 0.1,
        parent: str = "always",
        size: int = 2048,
        id_fields: bool = False,
        wake: Callable[[], object] | None = None,
    ) -> None: ...
    def taken(self, most: int) -> list[dict[str, Any]]: ...
