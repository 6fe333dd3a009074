"""One configuration loaded after the other: what stays is the same object, and nothing else differs."""

from __future__ import annotations

from typing import Any

import pytest

from lbd.config.earlier import Earlier
from lbd.config.errors import ConfigErrors
from lbd.config.loader import load_text
from lbd.config.schema import Config

TEXT = """
listeners:
  - {name: a, bind: "127.0.0.1:1", routes: [{match: {path: /x}, cluster: one}, {respond: {body: hello}}]}
  - {name: b, bind: "127.0.0.1:2", cluster: two}
  - {name: c, bind: "127.0.0.1:3", routes: [{match: {path: /y}, cluster: one}]}
clusters:
  - {name: one, endpoints: ["127.0.0.1:4"]}
  - {name: two, endpoints: ["127.0.0.1:${PORT:-5}"]}
"""


def loaded(earlier: Earlier, text: str = TEXT, **env: str) -> Config:
    """As if nothing had been loaded before."""
    config = load_text(text, "x", env, earlier)
    assert config == load_text(text, "x", env)
    return config


def test_what_stays_is_the_same_object() -> None:
    earlier = Earlier()
    first = loaded(earlier)
    again = loaded(earlier)
    assert all(a is b for a, b in zip(first.clusters, again.clusters, strict=True))
    for before, after in zip(first.listeners, again.listeners, strict=True):
        assert all(a is b for a, b in zip(before.routes, after.routes, strict=True))


def test_what_changes_is_another() -> None:
    earlier = Earlier()
    first = loaded(earlier)
    moved = loaded(earlier, TEXT.replace("hello", "bye").replace("127.0.0.1:4", "127.0.0.1:14"))
    assert moved.clusters[0] is not first.clusters[0] and moved.clusters[1] is first.clusters[1]
    (same, other), (old, respond) = moved.listeners[0].routes, first.listeners[0].routes
    assert same is old and other != respond and other.respond is not None and other.respond.body == "bye"


def test_variables_are_part_of_what_is_said() -> None:
    earlier = Earlier()
    assert loaded(earlier).clusters[1].endpoints[0].address == "127.0.0.1:5"
    assert loaded(earlier, PORT="6").clusters[1].endpoints[0].address == "127.0.0.1:6"
    assert loaded(earlier).clusters[1].endpoints[0].address == "127.0.0.1:5"


@pytest.mark.parametrize(("one", "other"), [("1", "true"), ("1", "1.0"), ("1", '"1"')])
def test_values_that_python_calls_equal_are_not(one: str, other: str) -> None:
    earlier = Earlier()
    text = TEXT.replace("name: one,", f"name: one, connections: {{warm: {one}}},")
    load_text(text, "x", {}, earlier)
    again = text.replace(f"warm: {one}", f"warm: {other}")
    assert outcome(again, earlier) == outcome(again, None)


def outcome(text: str, earlier: Earlier | None) -> Any:
    try:
        return load_text(text, "x", {}, earlier)
    except ConfigErrors as errors:
        return str(errors)


BROKEN = [
    ("cluster: one}, {respond", "cluster: eins}, {respond"),  # a rule between settings
    ("name: two, ", "name: one, "),
    ("body: hello", "body: [hello]"),
    ("cluster: two}", "cluster: two, routes: 7}"),
    ("cluster: two}", "cluster: two, routes: [7]}"),
    ("clusters:", "clusters: 7\nx:"),
    ("listeners:", "listeners: 7\nx:"),
    ("  - {name: b, bind: \"127.0.0.1:2\", cluster: two}", "  - text"),
    ("name: two", "name: two, name: three"),
]


@pytest.mark.parametrize(("old", "new"), BROKEN, ids=[new for _, new in BROKEN])
def test_errors_are_the_same(old: str, new: str) -> None:
    """And the next good one does not suffer from them."""
    earlier = Earlier()
    first = loaded(earlier)
    text = TEXT.replace(old, new)
    assert text != TEXT
    assert outcome(text, earlier) == outcome(text, None) and isinstance(outcome(text, None), str)
    assert loaded(earlier).clusters[0] is first.clusters[0]
