"""What a replay has found, grouped and counted in bounded memory: as plain data at the end."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from lbd.control.decision import Decision
from lbd.control.recorded import Recorded

EXAMPLES = 3  # of each group
MOST_GROUPS = 200  # of each list; what does not fit is counted
MOST_OUTCOMES = 8  # of a request that cannot be decided
ORDER = ("refused", "served", "answer", "cluster", "route", "endpoint", "balance")

Pairs = Sequence[tuple[Decision, Decision]]


class Groups:
    """Counts with examples, by key."""

    def __init__(self) -> None:
        self.count = self.left_out = 0
        self._rows: dict[Hashable, dict[str, Any]] = {}

    def add(self, key: Hashable, example: Any, describe: Callable[[], Mapping[str, Any]]) -> None:
        """One more; `describe` is asked for the members of a group when it is new."""
        self.count += 1
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MOST_GROUPS:
                self.left_out += 1
                return
            row = self._rows[key] = {"count": 0, **describe(), "examples": []}
        row["count"] += 1
        if len(row["examples"]) < EXAMPLES:
            row["examples"].append(example)

    def rows(self) -> list[dict[str, Any]]:
        """The largest first."""
        return sorted(self._rows.values(), key=lambda row: -row["count"])


class ReplayReport:
    """Filled by Replay, a call for each record and each thing that is found about it."""

    def __init__(self) -> None:
        self.requests = self.unchanged = 0
        self._changes, self._undecided, self._deviations, self._unusable = (Groups() for _ in range(4))
        self._first: Recorded | None = None
        self._last: Recorded | None = None

    @property
    def differs(self) -> int:
        """Requests that the new configuration treats otherwise, for certain."""
        return self._changes.count

    @property
    def open(self) -> int:
        """Requests that cannot be decided."""
        return self._undecided.count

    def taken(self, recorded: Recorded) -> None:
        self.requests += 1
        if self._first is None or recorded.ended < self._first.ended:
            self._first = recorded
        if self._last is None or recorded.ended > self._last.ended:
            self._last = recorded

    def same(self) -> None:
        self.unchanged += 1

    def changed(
        self, kind: str, listener: str, old: Decision, new: Decision, recorded: Recorded, moved: float | None
    ) -> None:
        """moved: share of such requests that go to another endpoint, where that is all that is known."""
        by_endpoint = kind == "endpoint"  # one group for all that change places within a cluster
        key = (kind, listener, old.cluster, new.cluster) if by_endpoint else (kind, listener, old, new)
        example = dict(recorded.example)
        if by_endpoint:
            example |= {"old_endpoint": old.endpoint, "new_endpoint": new.endpoint}

        def describe() -> dict[str, Any]:
            sides = {"old": old.to_data(), "new": new.to_data()}
            if by_endpoint:  # each example says which
                for side in sides.values():
                    side.pop("endpoint", None)
            more = {} if moved is None else {"moved": round(moved, 4)}
            return {"kind": kind, "listener": listener, **sides, **more}

        self._changes.add(key, example, describe)

    def undecided(self, listener: str, needs: Sequence[str], pairs: Pairs, recorded: Recorded) -> None:
        def describe() -> dict[str, Any]:
            return {
                "listener": listener,
                "needs": list(needs),
                "old": _outcomes([old for old, _ in pairs]),
                "new": _outcomes([new for _, new in pairs]),
            }

        self._undecided.add((listener, tuple(needs), tuple(pairs)), recorded.example, describe)

    def deviates(self, listener: str, why: str, was: Decision, recorded: Recorded) -> None:
        """What was recorded is not what the old configuration says."""
        found = {name: getattr(recorded, name) for name in ("route", "cluster", "status", "reason")}
        found = {name: value for name, value in found.items() if value is not None}
        if was.cluster is not None and found.get("cluster") is not None:
            found.pop("status", None)  # the endpoint's: every one would be another group
        key = (listener, why, was, tuple(found.items()))
        self._deviations.add(
            key,
            recorded.example,
            lambda: {"listener": listener, "why": why, "recorded": found, "old": was.to_data()},
        )

    def unusable(self, why: str, line: int | None) -> None:
        """A line that is no record."""
        self._unusable.add(why, line, lambda: {"why": why})

    def to_data(self) -> dict[str, Any]:
        """All of it, for JSON. What did not fit into the lists is counted in `left_out`."""
        groups = {
            "changes": self._changes,
            "undecided": self._undecided,
            "deviations": self._deviations,
            "unusable": self._unusable,
        }
        lists = {name: one.rows() for name, one in groups.items()}
        lists["changes"].sort(key=lambda row: (ORDER.index(row["kind"]), -row["count"]))
        lists["unusable"] = [
            {"count": row["count"], "why": row["why"], "lines": [n for n in row["examples"] if n is not None]}
            for row in lists["unusable"]
        ]
        return {
            "requests": self.requests,
            "first": self._first.example.get("time") if self._first is not None else None,
            "last": self._last.example.get("time") if self._last is not None else None,
            "counts": {"same": self.unchanged, **{name: one.count for name, one in groups.items()}},
            **lists,
            "left_out": {name: one.left_out for name, one in groups.items() if one.left_out},
        }


def _outcomes(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    return [one.to_data() for one in list(dict.fromkeys(decisions))[:MOST_OUTCOMES]]
