"""The `balancer` setting: a registered name, or a mapping of the name and the options of that balancer.

The options are checked by the `Options` model of the registered class (see `lbd.registry`), which is
imported only when options are given; so a plain name costs no import of the code behind it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

from lbd import registry
from lbd.config.messages import at_key, at_value, merge_errors, suggest
from lbd.config.units import BadValue, shorten


class BalancerChoice(BaseModel):
    """The chosen balancer; `options` is an instance of its Options model, or None when it has none."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    options: Any = None


def _read_balancer(value: Any) -> Any:
    if isinstance(value, BalancerChoice):
        return value
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        raise BadValue("must be the name of a balancer, or a mapping with its name and options")
    if "name" not in given:
        raise BadValue("needs the 'name' of the balancer")
    name = given["name"]
    known = registry.names("balancer")
    if name not in known:
        where = ("name",) if given is value else ()
        raise _failure(at_value(where, f"unknown balancer {shorten(name)}{suggest(str(name), known)}"))
    options = {key: option for key, option in given.items() if key != "name"}
    return BalancerChoice(name=name, options=_read_options(name, options) if options else None)


def _read_options(name: str, options: dict[Any, Any]) -> Any:
    try:
        model = getattr(registry.resolve("balancer", name), "Options", None)
    except (ImportError, AttributeError) as error:
        raise BadValue(f"balancer {name!r} cannot be loaded: {error}") from None
    if model is None:
        raise _failure(*(at_key((key,), f"balancer {name!r} takes no options") for key in options))
    try:
        return model.model_validate(options)
    except ValidationError as error:
        raise _failure(*merge_errors(model, error, [])) from None


def _failure(*errors: Any) -> ValidationError:
    return ValidationError.from_exception_data("balancer", list(errors))


def _write_balancer(choice: BalancerChoice) -> Any:
    if choice.options is None:
        return choice.name
    return {"name": choice.name, **choice.options.model_dump(mode="json")}


def _schema() -> dict[str, Any]:
    name = {"enum": list(registry.names("balancer"))}
    return {"anyOf": [name, {"type": "object", "properties": {"name": name}, "required": ["name"]}]}


BalancerSetting = Annotated[
    BalancerChoice,
    BeforeValidator(_read_balancer),
    PlainSerializer(_write_balancer, when_used="json"),
    WithJsonSchema(_schema()),
]
