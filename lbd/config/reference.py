"""The table of all settings for docs/configuration.md, rendered from the schema.

One section per model, in the order in which a configuration file has them; a setting that is itself a mapping
of settings links to its section.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lbd.config.balancer import BalancerChoice
from lbd.config.dump import written_default
from lbd.config.key import KeyChoice
from lbd.config.messages import nested_model
from lbd.config.schema import Config

BEGIN = "<!-- reference: rendered by `lbd config reference`, do not edit below -->"
END = "<!-- reference: end -->"


def settings() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting with its path, such as `listeners[].timeouts.head`."""
    yield from _settings(Config, "")


def _settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        nested = _section(field)
        if nested is not None:
            many = "[]" if "tuple[" in str(field.annotation) else ""
            yield from _settings(nested, f"{prefix}{name}{many}.")


def render() -> str:
    """The reference as Markdown, with its begin and end marks."""
    parts = [BEGIN, "", *_render_section("", Config)]
    for path, field in settings():
        nested = _section(field)
        if nested is not None:
            many = "[]" if "tuple[" in str(field.annotation) else ""
            parts += _render_section(f"{path}{many}", nested)
    return "\n".join([*parts, END, ""])


def _render_section(path: str, model: type[BaseModel]) -> list[str]:
    title = f"### `{path}`" if path else "### Top level"
    about = (model.__doc__ or "").strip()
    rows = [_row(model, name, field) for name, field in model.model_fields.items()]
    return [title, "", about, "", "| setting | default | meaning |", "|---|---|---|", *rows, ""]


def _row(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    nested = _section(field)
    description = (field.description or "").replace("|", "\\|")
    default = (
        "see below" if nested is not None and isinstance(field.default, BaseModel) else _default(model, name)
    )
    return f"| `{name}` | {default} | {description} |"


def _default(model: type[BaseModel], name: str) -> str:
    if model.model_fields[name].is_required():
        return "required"
    value = written_default(model, name)
    return "" if value in (None, [], {}, "") else f"`{value}`"


def _section(field: FieldInfo) -> type[BaseModel] | None:
    nested = nested_model(field.annotation)
    return None if nested in (BalancerChoice, KeyChoice) else nested
