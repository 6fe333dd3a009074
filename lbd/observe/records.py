"""Families of metrics out of the shared block: fields of each record of a kind, one record after another.

Each field is read when its sample is made. A record that has been forgotten meanwhile has no sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lbd.engine.shared import Shared
from lbd.observe.text import Family, HistogramFamily, Pieces

Said = Iterable[tuple[str, float]]  # values of a label, and the numbers


class Records:
    """Records of one kind. Their names are values of labels with slashes in between; the last may have more.

    names: of those that are wanted, gone through once for each family; all of the kind by default.
    """

    def __init__(self, shared: Shared, kind: str, *labels: str, names: Iterable[str] | None = None) -> None:
        self._shared = shared
        self._kind = kind
        self._labels = labels
        self._names = shared.names(kind) if names is None else names

    def numbers(self, name: str, text: str, field: str) -> Pieces:
        """A family with one sample of each record: this field, a number."""
        family = Family(name, text, *self._labels)
        yield family.head
        for values, (value,) in self.read(field):
            yield family.sample(values, value)

    def several(
        self, name: str, text: str, label: str, fields: tuple[str, ...], said: Callable[..., Said]
    ) -> Pieces:
        """A family with some samples of each record, which differ in a further label: what `said` makes of
        these fields."""
        family = Family(name, text, *self._labels, label)
        yield family.head
        for values, found in self.read(*fields):
            yield family.samples(values, said(*found))

    def histogram(self, name: str, text: str, field: str) -> Pieces:
        """A family with a histogram of each record."""
        family = HistogramFamily(name, text, *self._labels)
        yield family.head
        for values, (record,) in self.read(field):
            yield family.samples(values, record)

    def read(self, *fields: str) -> Iterator[tuple[list[str], list[Any]]]:
        """Of each record the values of the labels, and these fields."""
        splits = len(self._labels) - 1
        for name in self._names:
            try:
                found = [self._shared.read(self._kind, name, field) for field in fields]
            except KeyError:  # forgotten since its name was asked for
                continue
            yield name.split("/", splits), found
