"""Looking into a configuration as given, mapping or model, of which any value may have any shape."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def items(data: Any, key: str) -> list[tuple[int, Any]]:
    """The numbered items of a list; none when it is not there or no list."""
    value = get(data, key)
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else []


def get(data: Any, key: str, default: Any = None) -> Any:
    """A setting, or the default when it is not there."""
    if isinstance(data, dict):
        return data.get(key, default)
    return getattr(data, key, default) if isinstance(data, BaseModel) else default
