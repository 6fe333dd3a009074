"""The text of /metrics, sample by sample, as prometheus_client reads and writes it."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Sample
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from lbd.engine.shared import bucket_bounds
from lbd.observe.histogram import SHOWN_BOUNDS
from lbd.observe.text import Family, HistogramFamily

BUCKETS = len(bucket_bounds())
LABEL = st.text(st.characters(exclude_categories=("Cs",)))
COUNTS = st.lists(st.integers(0, 1 << 40), min_size=BUCKETS, max_size=BUCKETS)


def parsed(text: bytes) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]


@given(st.lists(LABEL, min_size=3, max_size=3))
def test_values_of_labels_are_read_as_they_were(values: list[str]) -> None:
    names = ("listener", "code", "an_endpoint")
    family = Family("lbd_requests_total", "Exchanges.", *names)
    (sample,) = parsed(family.head + family.sample(values, 3))
    assert (sample.name, sample.labels, sample.value) == (
        "lbd_requests_total",
        dict(zip(names, values, strict=True)),
        3.0,
    )


FORGED = ('"', "\\", "\n", '\\"', "\\n", "a\\", '"} 1\nlbd_forged 1\n', "\r", "\0", "ü\u2028")
EDGES = (123456789, 1200000, 10**15 + 0.5, *(10**n + d for n in range(18) for d in (-1, 0, 1)))


@pytest.mark.parametrize("value", FORGED)
def test_a_name_cannot_forge_a_sample(value: str) -> None:
    family = Family("lbd_x", "X.", "name")
    text = family.head + family.sample([value], 1)
    assert text.count(b"\n") == 3
    assert [sample.labels for sample in parsed(text)] == [{"name": value}]


@given(st.one_of(st.floats(), st.integers(0, 1 << 64), st.integers(0, 10_000_000), st.booleans()))
def test_numbers_are_written_as_go_writes_them(value: float) -> None:
    text = Family("lbd_x", "X.").sample([], value).decode()
    number = text.removeprefix("lbd_x ").removesuffix("\n")
    if value == 0:  # -0.0
        assert float(number) == 0
    else:
        assert number == floatToGoString(value)
    assert float(number) == float(value) or math.isnan(value)


@pytest.mark.parametrize("value", EDGES)
def test_numbers_at_the_edges(value: float) -> None:
    assert Family("lbd_x", "X.").sample([], value) == f"lbd_x {floatToGoString(value)}\n".encode()


def test_heads() -> None:
    counter = Family("lbd_x_total", "So many.").head
    assert counter == b"# HELP lbd_x_total So many.\n# TYPE lbd_x_total counter\n"
    assert Family("lbd_x", "Now.").head.endswith(b"# TYPE lbd_x gauge\n")
    assert HistogramFamily("lbd_x", "Long.").head.endswith(b"# TYPE lbd_x histogram\n")


def test_as_many_values_as_labels() -> None:
    for values in (["a"], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="2 labels"):
            Family("lbd_x", "X.", "one", "two").sample(values, 1)
        with pytest.raises(ValueError, match="2 labels"):
            HistogramFamily("lbd_x", "X.", "one", "two").samples(values, [0.0, [0] * BUCKETS])


def test_samples_that_differ_in_a_label() -> None:
    family = Family("lbd_x", "X.", "z", "a")
    assert family.samples(["1"], [("p", 5), ("q", 6)]) == b'lbd_x{a="p",z="1"} 5.0\nlbd_x{a="q",z="1"} 6.0\n'
    assert family.samples(["1"], []) == b""
    assert b"".join(family.pieces([(["1", "2"], 3), None])) == family.head + b'lbd_x{a="2",z="1"} 3.0\n'


@given(COUNTS, LABEL)
def test_histograms_are_cumulative(counts: list[int], name: str) -> None:
    family = HistogramFamily("lbd_x_seconds", "Long.", "route", "cluster")
    samples = parsed(family.head + family.samples([name, "c"], [1.5, counts]))
    *buckets, count, total = samples
    assert (count.name, count.value) == ("lbd_x_seconds_count", float(sum(counts)))
    assert (total.name, total.value) == ("lbd_x_seconds_sum", 1.5)
    assert all({**sample.labels, "le": ""} == {"route": name, "cluster": "c", "le": ""} for sample in samples)
    bounds = [float(sample.labels["le"]) for sample in buckets]
    assert bounds == [*SHOWN_BOUNDS, math.inf] and all(a < b for a, b in pairwise(bounds))
    for bound, sample in zip(bounds, buckets, strict=True):
        assert sample.value == float(sum(counts[: bucket_bounds().index(bound) + 1]))
