"""The language: YAML 1.2 core types, JSON, bounds, and syntax errors with their position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from lbd.config import document
from lbd.config.errors import ConfigErrors
from lbd.config.tree import Node


def plain(node: Node) -> Any:
    if node.kind == "list":
        return [plain(item) for item in node.items]
    if node.kind == "map":
        return {key.text: plain(value) for key, value in node.pairs}
    return document.scalar_value(node.text, node.tag or document.scalar_type(node.text))


def parse(text: str, name: str = "x.yaml") -> Any:
    node = document.parse(text, name)
    assert node is not None
    return plain(node)


def error(text: str, name: str = "x.yaml") -> str:
    with pytest.raises(ConfigErrors) as caught:
        document.parse(text, name)
    return str(caught.value)


@pytest.fixture(params=["c", "python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything here holds with libyaml and with the pure Python parser."""
    if request.param == "python":
        monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)
    yield


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("off", "off"),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("017", 17),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("10.0.0.1:9001", "10.0.0.1:9001"),
        ("|\n  a\n", "a\n"),
    ],
)
def test_types_of_scalars(text: str, value: object) -> None:
    assert parse(f"a: {text}") == {"a": value}
    assert type(parse(f"a: {text}")["a"]) is type(value)


def test_keys_are_text() -> None:
    assert parse("{1: a, true: b, null: c, 'x y': d}") == {"1": "a", "true": "b", "null": "c", "x y": "d"}
    assert error("? [a]\n: b") == "x.yaml:1:3: a key must be text"


def test_anchors_and_merge_keys() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{z: 4}, *a]}\nd: *a\n'<<': e"
    assert parse(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"y": 3, "x": 1},
        "c": {"z": 4, "x": 1, "y": 2},
        "d": {"x": 1, "y": 2},
        "<<": "e",
    }
    assert error("a: &a [1]\nb: {<<: *a}") == (
        "x.yaml:2:9: '<<' merges mappings; give an alias of a mapping, or a list of such"
    )


def test_json_with_tabs() -> None:
    text = '{\n\t"a": [1, 2.5, true, null, "x\\ty\\u00e9\\/"]\n}'
    assert parse(text, "x.json") == {"a": [1, 2.5, True, None, "x\tyé/"]}


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse("\ufeffa: 1") == {"a": 1}


def test_values_know_their_place() -> None:
    root = document.parse("a:\n  - {b: 1,\n     c: 2}\n", "x.yaml")
    assert root is not None
    listed = root.value_of("a")
    assert listed is not None
    pair = listed.items[0].pair("c")
    assert pair is not None
    key, value = pair
    assert (key.line, key.column, value.line, value.column) == (3, 6, 3, 9)


@pytest.mark.parametrize("text", ["", "\n", "# only this\n", "---\n", "null", "~"])
def test_nothing_is_nothing(text: str) -> None:
    assert document.parse(text, "x.yaml") is None


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("a:\n\tb: 1", "x.yaml:2:1: a tab is used for indentation; use spaces"),
        ("a: b: c", "x.yaml:1:5: not valid YAML: mapping values are not allowed"),
        ("a: @b", "x.yaml:1:4: a value cannot begin with '@'; put it in quotes"),
        ("a: {b: ${X}}", "x.yaml:1:9: not valid YAML: "),
        ("a: 1\n---\nb: 2", "x.yaml:2:1: a second document begins here; a file holds one"),
        ("a: *b", "x.yaml:1:4: alias '*b' has no anchor '&b' that ends before it"),
        ("a: &a [*a]", "x.yaml:1:8: alias '*a' has no anchor"),
        (
            "a: !!python/object:os.system x",
            "x.yaml:1:4: unknown tag 'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("a: !!seq x", "x.yaml:1:4: the tag says seq, but this is a single value"),
        ("a: !!map [x]", "x.yaml:1:4: the tag says map, but this is a list"),
        ("ä: b\x07", "x.yaml:1:5: character U+0007 is not allowed"),
        ("a: '", "x.yaml:1:"),
    ],
)
def test_syntax_errors_have_a_place(text: str, begins: str) -> None:
    message = error(text)
    assert message.startswith(begins)
    assert "\n" not in message


def test_a_reference_inside_braces_is_explained() -> None:
    assert error("a: {b: ${X}}").endswith("put ${...} in quotes")


def test_depth_is_bounded() -> None:
    assert error("[" * 100_000) == "x.yaml:1:65: nested more than 64 levels deep"
    assert parse("[" * 64 + "]" * 64)


def test_aliases_cannot_blow_up() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    assert "more than 500000 values, aliases expanded" in error("\n".join(levels))


def test_merge_keys_cannot_blow_up() -> None:
    levels = ["a0: &a0 {k: [x, x, x, x, x, x, x, x, x, x]}"]
    levels += [
        f"a{n}: &a{n} {{" + ", ".join(f"k{i}: {{<<: *a{n - 1}}}" for i in range(10)) + "}"
        for n in range(1, 9)
    ]
    assert "more than 500000 values, aliases expanded" in error("\n".join(levels))


def test_size_is_bounded() -> None:
    assert error("#" * (document.MAX_BYTES + 1)).endswith(
        "larger than 16 MiB; split it into a directory of files"
    )


def test_a_number_of_many_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a usable int"):
        parse("a: " + "9" * 5000)
