"""Pace: when to ask a name server again."""

from __future__ import annotations

import random

from lbd.config.discovery import Resolver

FIRST_BACKOFF = 1.0  # seconds; negative_ttl when that is shorter
LONGEST_BACKOFF = 60.0
JITTER = 0.1  # so that names that were asked for together are not for ever


class Pace:
    """Of one name. All results are seconds from now."""

    def __init__(self, setting: Resolver, chance: random.Random | None = None) -> None:
        self._setting = setting
        self._chance = chance or random.Random()
        self._failures = 0

    def answered(self, ttl: float) -> float:
        """After an answer with this TTL (seconds): it is used up then, within the settings' bounds."""
        self._failures = 0
        return self.kept(ttl)

    def kept(self, ttl: float) -> float:
        """How long an answer with this TTL is used; not the end of a back-off."""
        kept = min(max(ttl, self._setting.min_ttl), self._setting.max_ttl)
        return kept * (1 + JITTER * self._chance.random())

    def empty(self) -> float:
        """After an answer that there is nothing."""
        self._failures = 0
        return self._setting.negative_ttl * (1 + JITTER * self._chance.random())

    def failed(self) -> float:
        """After no answer, or one that says nothing: exponential back-off, between half and all of it."""
        first = min(FIRST_BACKOFF, self._setting.negative_ttl)
        wait = min(LONGEST_BACKOFF, first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return wait * (1 + self._chance.random()) / 2
