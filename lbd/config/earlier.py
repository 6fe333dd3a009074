"""Earlier: the routes and clusters of the configuration loaded before, for the next one.

Whoever loads one after the other finds most of it as it was. What is made of the same data again is the same
object: it is not validated twice, and equal at a glance. Rules between settings look at all of the data.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Sequence
from typing import Any

from lbd.config.transport import Settings

EARLIER = "earlier"  # the key of an Earlier in the context of a validation
STABLE = 2  # the version of marshal's format in which equal data is equal bytes


class Earlier:
    """For one configuration after the other, see `load`."""

    def __init__(self) -> None:
        self._known: dict[bytes, Settings] = {}
        self._keys: list[list[bytes]] = []  # of clusters, and of the routes of each listener

    def __repr__(self) -> str:
        return f"<Earlier known={len(self._known)}>"

    def put_in(self, data: Any) -> Any:
        """The data, with known settings in their places; it may have any shape."""
        self._keys = []
        if not isinstance(data, dict):
            return data
        made = self._recognised(data, "clusters")
        if isinstance(data.get("listeners"), list):
            made["listeners"] = [self._recognised(one, "routes") for one in data["listeners"]]
        return made

    def _recognised(self, holder: Any, name: str) -> Any:
        """A copy of a mapping, of whose list the known items are put in."""
        items = holder.get(name) if isinstance(holder, dict) else None
        if not isinstance(items, list):
            self._keys.append([])
            return dict(holder) if isinstance(holder, dict) else holder
        keys = [marshal.dumps(item, STABLE) for item in items]
        self._keys.append(keys)
        return {**holder, name: [self._known.get(key, item) for key, item in zip(keys, items, strict=True)]}

    def learn(self, made: Iterable[Sequence[Settings]]) -> None:
        """What has become of the data that was put in last: clusters, then the routes of each listener."""
        self._known = {
            key: setting
            for keys, settings in zip(self._keys, made, strict=True)
            for key, setting in zip(keys, settings, strict=True)
        }
        self._keys = []
