"""The secrets of a configuration, for those who must never show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr

from lbd.config.units import MASK, mask_credentials

_HARMLESS = (str, int, float, bool, type(None), ...)  # annotations; the dots of a tuple of any length


def secrets_of(setting: Any) -> Iterator[str]:
    """Every secret below a setting: what is masked in a dump, and credentials in header fields."""
    waiting, seen = [setting], set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, BaseModel):
            if id(value) in seen:  # a default is one object everywhere
                continue
            seen.add(id(value))
            values = value.__dict__
            waiting += [one for name in _where(value.__class__) if (one := values[name])]
        elif isinstance(value, tuple):
            waiting += value
        elif isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, Mapping):
            yield from _credentials(value)
            waiting += value.values()


def _credentials(fields: Mapping[str, Any]) -> Iterator[str]:
    if not all(isinstance(one, str) for one in fields.values()):
        return
    masked = mask_credentials(dict(fields))
    for one in (one for name, one in fields.items() if masked[name] == MASK):
        yield one
        yield from one.split()[1:]  # without its scheme, such as Bearer


@cache
def _where(model: type[BaseModel]) -> list[str]:
    """The settings of a model that may have a secret below them: few of many, in ten thousand routes."""
    return [name for name, field in model.model_fields.items() if _may_bear(field.annotation, (model,))]


def _may_bear(kind: Any, around: tuple[Any, ...]) -> bool:
    """kind: an annotation; around: the models that it stands in."""
    arguments, origin = get_args(kind), get_origin(kind)
    if origin is Annotated:
        return _may_bear(arguments[0], around)
    if origin is Literal or kind in _HARMLESS:
        return False
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        inner = (*around, kind)
        fields = kind.model_fields.values() if kind not in around else ()
        return any(_may_bear(field.annotation, inner) for field in fields)
    if not arguments or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return True
    return any(_may_bear(one, around) for one in arguments)
