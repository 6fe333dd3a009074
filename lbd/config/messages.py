"""Errors in plain words: pydantic's line errors are rewritten here, once, for the whole configuration.

An error is a location (path of keys and indexes) and a sentence. Its type says which mark of the YAML node
the loader points at: `at_key` (the setting should not be here) or `at_value` (its value is wrong).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from lbd.config.units import shorten

Location = tuple[int | str, ...]
AT_KEY, AT_VALUE = "at_key", "at_value"
UNION_TAGS = ON, OFF = "<on>", "<off>"
TAGGED = ("access_log", "recorder")


def at_key(location: Location, message: str) -> InitErrorDetails:
    """An error about the presence of a setting."""
    return {"type": _custom(AT_KEY, message), "loc": location, "input": None}


def at_value(location: Location, message: str) -> InitErrorDetails:
    """An error about the value of a setting."""
    return {"type": _custom(AT_VALUE, message), "loc": location, "input": None}


def _custom(kind: Any, message: Any) -> PydanticCustomError:
    return PydanticCustomError(kind, message)  # Any: pydantic asks for literal strings


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the list of what is known."""
    words = sorted(known)
    close = difflib.get_close_matches(word[:64], words, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(words)}" if words else ""


def merge_errors(
    model: type[BaseModel], failure: ValidationError | None, rule_errors: Iterable[InitErrorDetails]
) -> list[InitErrorDetails]:
    """All errors, those of pydantic in plain words; a rule's error gives way to one at the same place."""
    found = [] if failure is None else [_rewrite(model, e) for e in failure.errors(include_url=False)]
    places = {error.get("loc") for error in found}
    found.extend(error for error in rule_errors if error.get("loc") not in places)
    return found


def _rewrite(model: type[BaseModel], error: ErrorDetails) -> InitErrorDetails:
    kind, where, given = error["type"], _clean(error["type"], error["loc"]), error["input"]
    if kind in (AT_KEY, AT_VALUE):
        return {"type": _custom(kind, error["msg"]), "loc": where, "input": given}
    if kind == "missing":
        return at_value(where[:-1], f"required setting {str(where[-1])!r} is missing")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _model_at(model, where[:-1])
        close = suggest(str(where[-1]), known.model_fields if known else ())
        return at_key(where, f"unknown setting {shorten(where[-1])}{close}")
    named = error["loc"][-1:] == ("[key]",)
    return {"type": _custom(AT_KEY if named else AT_VALUE, _sentence(error)), "loc": where, "input": given}


def _sentence(error: ErrorDetails) -> str:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if given is None:
        return "has no value; give one, or remove the setting"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        hint = suggest(given, choices) if isinstance(given, str) and len(choices) > 1 else ""
        close = hint if "did you mean" in hint else ""
        return f"must be {_any_of(choices)}, not {shorten(given)}{close}"
    if kind == "string_type":
        return "must be text" + ("; put the value in quotes" if isinstance(given, (bool, int, float)) else "")
    if kind.startswith("int_"):
        return f"must be a whole number, not {shorten(given)}"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    if kind == "string_too_long":
        return f"must not be longer than {context['max_length']} characters"
    return _BOUNDS[kind].format(**context) if kind in _BOUNDS else _SHAPES.get(kind, error["msg"])


_BOUNDS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
}
_SHAPES = {
    "model_type": "must be a mapping of settings",
    "model_attributes_type": "must be a mapping of settings",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_unicode": "must be valid Unicode text",
}


def _any_of(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _clean(kind: str, location: Location) -> Location:
    """Without pydantic's own marks: `[key]` at the end, and the tag of the union behind what may be `off`.

    Nothing else is taken for a mark: a user may have written a key that looks like one.
    """
    if kind != "extra_forbidden" and len(location) > 1 and location[-1] == "[key]":
        location = location[:-1]
    for index in range(len(location) - 1):
        if location[index] in TAGGED and location[index + 1] in UNION_TAGS:
            return location[: index + 1] + location[index + 2 :]
    return location


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    """The model that describes the mapping at a location."""
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part) if current else None
        current = nested_model(field.annotation) if field else None
    return current


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as `Route | None` or `tuple[Route, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := nested_model(argument)) is not None:
            return found
    return None
