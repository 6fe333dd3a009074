"""docs/configuration.md holds the reference that the schema renders today."""

from __future__ import annotations

from pathlib import Path

from lbd.config import reference

DOC = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_document_is_up_to_date() -> None:
    text = DOC.read_text(encoding="utf-8")
    begin, end = text.index(reference.BEGIN), text.index(reference.END) + len(reference.END) + 1
    assert text[begin:end] == reference.render(), "put the output of `lbd config reference` between the marks"


def test_every_setting_is_described() -> None:
    paths = {path: field.description for path, field in reference.settings()}
    assert "clusters[].connections.max" in paths
    assert "listeners[].routes[].match.body_size" in paths
    assert [path for path, description in paths.items() if not description] == []


def test_defaults_are_written_as_people_write_them() -> None:
    text = reference.render()
    assert "| `tunnel` | `1h` |" in text
    assert "| `request_line` | `8KiB` |" in text
    assert "| `requests` | `none` |" in text
    assert "| `balancer` | `round_robin` |" in text
