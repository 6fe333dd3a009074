from collections.abc import Iterable
from typing import Any

from lbd.engine.listener import Listener

KINDS: tuple[str, ...]

def describe_guests(
    listeners: Iterable[Listener], most: int, *, kind: str | None = None, client: str | None = None
) -> tuple[list[dict[str, Any]], bool]: ...
