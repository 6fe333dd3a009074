"""What of a request decides where it goes: `source`, `host`, `path`, or a name of one of four kinds.

`key: source` and `key: {header: X-User}` are one setting type, for whatever chooses or counts by a part of a
request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, WithJsonSchema

from lbd.config.messages import at_key, at_value, suggest
from lbd.config.patterns import parse_capture_name, parse_cookie_name, parse_field_name, parse_query_name
from lbd.config.units import BadValue, shorten

PLAIN = ("source", "host", "path")
NAMED: dict[str, Callable[[object], str]] = {
    "header": parse_field_name,
    "cookie": parse_cookie_name,
    "query": parse_query_name,
    "capture": parse_capture_name,
}


class KeyChoice(BaseModel):
    """`kind` is one of PLAIN or NAMED; `name` is empty for those of PLAIN."""

    model_config = ConfigDict(frozen=True)

    kind: str
    name: str = ""


def _read_key(value: Any) -> Any:
    if isinstance(value, KeyChoice):
        return value
    if isinstance(value, str):
        if value in PLAIN:
            return KeyChoice(kind=value)
        if value in NAMED:
            raise BadValue(f"{value!r} needs a name; write {{{value}: NAME}}")
        raise BadValue(f"unknown key {shorten(value)}{suggest(value, (*PLAIN, *NAMED))}")
    if not isinstance(value, dict):
        raise BadValue("must be source, host or path, or a mapping such as {header: X-User}")
    unknown = [kind for kind in value if kind not in NAMED]
    if unknown:
        raise _failure(
            *(at_key((kind,), f"unknown key {shorten(kind)}{suggest(str(kind), NAMED)}") for kind in unknown)
        )
    if len(value) != 1:
        raise BadValue(f"give one of {', '.join(NAMED)}")
    ((kind, name),) = value.items()
    try:
        return KeyChoice(kind=kind, name=NAMED[kind](name))
    except ValueError as error:
        raise _failure(at_value((kind,), str(error))) from None


def _failure(*errors: Any) -> ValidationError:
    return ValidationError.from_exception_data("key", list(errors))


def _write_key(choice: KeyChoice) -> Any:
    return {choice.kind: choice.name} if choice.name else choice.kind


def _schema() -> dict[str, Any]:
    named = [
        {"type": "object", "properties": {kind: {"type": "string"}}, "required": [kind]} for kind in NAMED
    ]
    return {"anyOf": [{"enum": list(PLAIN)}, *named]}


KeySetting = Annotated[
    KeyChoice,
    BeforeValidator(_read_key),
    PlainSerializer(_write_key, when_used="json"),
    WithJsonSchema(_schema()),
]
SOURCE = KeyChoice(kind="source")
