"""The secrets of a configuration, for those who must never show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from lbd.config.units import MASK, mask_credentials


def secrets_of(value: Any) -> Iterator[str]:
    """Every secret below a setting: what is masked in a dump, and credentials in header fields."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_of(getattr(value, name))
    elif isinstance(value, Mapping):
        if all(isinstance(one, str) for one in value.values()):
            masked = mask_credentials(dict(value))
            for one in (one for name, one in value.items() if masked[name] == MASK):
                yield one
                yield from one.split()[1:]  # without its scheme, such as Bearer
        for one in value.values():
            yield from secrets_of(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from secrets_of(one)
