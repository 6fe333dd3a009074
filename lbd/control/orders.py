"""What the supervisor tells a worker to serve, as it passes over their channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lbd.control.listening import Address
from lbd.discovery.member import Member

# the members of a cluster, and the address of each when it is known
Told = tuple[tuple[Member, str | None], ...]


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker serves. members: of each cluster; certificates: by listener; places: of the shared block;
    addresses: of the descriptors that come with it, after which there may be that of the recorder."""

    pieces: bytes
    members: dict[str, Told]
    certificates: dict[str, list[Any]]
    places: dict[tuple[str, str], tuple[int, int]]
    addresses: tuple[Address, ...] = ()
    has_recorder: bool = False
