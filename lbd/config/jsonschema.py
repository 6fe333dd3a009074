"""The JSON Schema of the configuration, for editors (`# yaml-language-server: $schema=lbd.schema.json`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from lbd.config.dump import written_default
from lbd.config.messages import nested_model
from lbd.config.schema import Config


def json_schema() -> dict[str, Any]:
    """The schema of a configuration file, draft 2020-12."""
    schema = Config.model_json_schema()
    definitions = schema.get("$defs", {})
    for model in set(_models(Config)):
        properties = definitions.get(model.__name__, schema if model is Config else {}).get("properties", {})
        for name, entry in properties.items():
            _tidy(model, name, entry)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lbd configuration",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _tidy(model: type[BaseModel], name: str, entry: dict[str, Any]) -> None:
    """Defaults as people write them, and no titles, which only repeat the names."""
    entry.pop("title", None)
    entry.pop("default", None)
    default = written_default(model, name)
    if default not in (None, [], {}) and not isinstance(default, dict):
        entry["default"] = default


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        nested = nested_model(field.annotation)
        if nested is not None:
            yield from _models(nested)
