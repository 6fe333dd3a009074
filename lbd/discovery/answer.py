"""Answers to questions about names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """To one question. `failure` says why there is no answer; without values and failure there is nothing."""

    values: tuple[T, ...] = ()
    ttl: float = 0.0  # seconds
    failure: str | None = None
    reason: str = ""  # why there is nothing: `no such name`, `no such records`


@dataclass(frozen=True, slots=True)
class Service:
    """One SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str
