"""The linter: what is valid and yet hardly what somebody wants.

A rule is one function that takes the Config and yields Findings; its first line of documentation says what it
warns of, and docs/lint.md what to do. Rules register by name in `lbd.registry`: a new one is a function, a
line in the table, a section of the document, and a test. `lint: {ignore: [...]}` leaves rules out.

Invariant: a rule says only what the configuration alone proves; what depends on traffic is not for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbd import registry
from lbd.config.errors import ConfigError
from lbd.config.messages import Location
from lbd.config.schema import Config


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a rule has found: the setting it is about, and a sentence with what to do."""

    location: Location
    message: str


@dataclass(frozen=True, slots=True, order=True)
class Warned:
    """A finding with its place and the rule's name."""

    error: ConfigError
    rule: str

    def __str__(self) -> str:
        return f"{self.error} [{self.rule}]"


def lint(config: Config) -> list[Warned]:
    """All findings of the rules that are not ignored, sorted by place."""
    found = []
    for name in registry.names("lint"):
        if name not in config.lint.ignore:
            for finding in registry.resolve("lint", name)(config):
                error = config.places.error(finding.location, f"warning: {finding.message}")
                found.append(Warned(error, name))
    return sorted(found)
