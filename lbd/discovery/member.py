"""Member: an endpoint as a source has found it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbd.config import schema

MOST_MEMBERS = 1000  # of one answer or file: whoever answers for a name must not fill the memory


@dataclass(frozen=True, slots=True)
class Member:
    """`priority` is its tier, 0 first. Its identity is its name, or its address without one.

    `host` is what TLS asks for and verifies; the host of the address when empty.
    """

    address: str
    weight: int = 1
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    host: str = ""

    @property
    def identity(self) -> str:
        return self.name or self.address

    @classmethod
    def of(cls, setting: schema.Endpoint) -> Member:
        """The member that a setting describes."""
        return cls(
            setting.address,
            setting.weight,
            setting.priority,
            dict(setting.labels),
            setting.name,
        )


Members = tuple[Member, ...]


def bounded(members: Members) -> tuple[Members, str | None]:
    """At most MOST_MEMBERS of them, and what to say about the others."""
    if len(members) <= MOST_MEMBERS:
        return members, None
    return members[:MOST_MEMBERS], f"{len(members)} endpoints, of which {MOST_MEMBERS} are used"
