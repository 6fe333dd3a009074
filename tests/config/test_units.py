"""Units: exact values, refusals with their sentence, and the round trip of every value."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbd.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("1h30m", 5400.0),
        ("100ms", 0.1),
        ("1.5s", 1.5),
        ("250us", 0.00025),
        ("2d", 172800.0),
        (0, 0.0),
        ("0", 0.0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (30, "needs a unit: write 30s"),
        (True, "must be a duration"),
        ("30", "'30' is not a duration"),
        ("30 s", "'30 s' is not a duration"),
        ("-1s", "'-1s' is not a duration"),
        ("1s junk", "is not a duration"),
        ("", "'' is not a duration"),
        ("1e3s", "is not a duration"),
        ("0.1us", "finer than a microsecond"),
        ("99999d", "longer than ten years"),
        ("9" * 5000 + "s", "is not a duration"),
        (None, "must be a duration"),
    ],
)
def test_refused_durations(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        units.parse_duration(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(75.0, "75s"), (3600.0, "1h"), (5400.0, "90m"), (0.1, "100ms"), (0.0, "0"), (86400.0, "1d")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text


@given(st.integers(0, 3650 * 86_400 * 1_000_000))
def test_durations_round_trip(microseconds: int) -> None:
    seconds = microseconds / 1_000_000
    text = units.format_duration(seconds)
    assert units.parse_duration(text) == seconds
    assert re.fullmatch(units.DURATION_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10MB", 10_000_000),
        ("8KiB", 8192),
        ("1GiB", 2**30),
        ("512B", 512),
        (4096, 4096),
        ("1.5MiB", 1572864),
        ("10 kB", 10_000),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("10k", "unknown size unit 'k'; use kB"),
        ("10Mb", "unknown size unit 'Mb'"),
        ("1.0001kB", "not a whole number of bytes"),
        ("-1B", "is not a size"),
        ("many", "is not a size"),
        (-1, "between 0 and"),
        (True, "must be a size"),
        ("9999999999GB", "too large"),
    ],
)
def test_refused_sizes(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        units.parse_size(value)


@given(st.integers(0, 2**63 - 1))
def test_sizes_round_trip(size: int) -> None:
    text = units.format_size(size)
    assert units.parse_size(text) == size
    assert re.fullmatch(units.SIZE_PATTERN, text)


@given(st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 2**63 - 1))
def test_size_comparisons_round_trip(operator: str, size: int) -> None:
    comparison = units.SizeComparison(operator, size)
    text = units.format_size_comparison(comparison)
    assert units.parse_size_comparison(text) == comparison
    assert re.fullmatch(units.SIZE_COMPARISON_PATTERN, text)


@pytest.mark.parametrize("value", ["10MB", "= 1MB", ">", "> 10k", 5, None])
def test_refused_size_comparisons(value: object) -> None:
    with pytest.raises(ValueError, match="size"):
        units.parse_size_comparison(value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.0.0.0:80", "0.0.0.0:80"),
        (":8080", ":8080"),
        ("[0:0::1]:80", "[::1]:80"),
        ("localhost:0", "localhost:0"),
    ],
)
def test_bind_addresses(text: str, canonical: str) -> None:
    assert units.parse_bind(text) == canonical
    assert re.fullmatch(units.BIND_PATTERN, canonical)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("8080", "has no port"),
        ("example.com:80", "is not an IP address"),
        ("1.2.3:80", "is not an IP address"),
        ("::1:80", "in brackets"),
        ("[::x]:80", "not an IPv6 address"),
        (":65536", "not a port number"),
        (":٣", "not a port number"),
        ("unix:run/x", "write the absolute path"),
        ("unix:/" + 107 * "x", "may have 107 bytes at most"),
        (8080, "must be an address"),
    ],
)
def test_refused_bind_addresses(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        units.parse_bind(value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (":80", "has no host"),
        ("a:0", "port 0"),
        ("a b:80", "is not a host name"),
        ("-a:80", "is not a host name"),
        ("http://a:80", "in brackets"),
        ("10.0.0:80", "not a complete IPv4"),
        ("fe80::1%eth0:80", "in brackets"),
    ],
)
def test_refused_endpoint_addresses(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        units.parse_endpoint_address(value)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_endpoint_addresses_round_trip(address: object, port: int) -> None:
    text = units.join_address(str(address), port)
    assert units.parse_endpoint_address(text) == text
    assert units.split_address(text) == (str(address), port)


def test_networks() -> None:
    assert units.parse_network("10.0.0.1") == "10.0.0.1/32"
    assert units.parse_network("fd00:0::/8") == "fd00::/8"
    with pytest.raises(ValueError, match=re.escape("did you mean 10.0.0.0/8?")):
        units.parse_network("10.0.0.1/8")
    with pytest.raises(ValueError, match="is not an IP address"):
        units.parse_network("10.0.0.0/33")
