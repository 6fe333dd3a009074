"""A file of endpoints (`discover: {file: ...}`): a list of what may stand under `endpoints` of a cluster.

Whoever writes the file need not be who writes the configuration, so that variables are not expanded in it
and its size is bounded. Invariant: `load_endpoints` returns the endpoints or raises ConfigErrors.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator

from lbd.config import document, rules
from lbd.config.errors import ConfigError, ConfigErrors
from lbd.config.loader import validated
from lbd.config.messages import at_value, merge_errors
from lbd.config.schema import Endpoint, EndpointSetting
from lbd.config.transport import Settings
from lbd.config.tree import Node

MOST_BYTES = 2**20
MOST_ENDPOINTS = 1000


class EndpointFile(Settings):
    """The list, under the name that a mapping gives it."""

    endpoints: tuple[EndpointSetting, ...]

    @model_validator(mode="wrap")
    @classmethod
    def _check_all(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made: Self | None = None
        failure: ValidationError | None = None
        given = data.get("endpoints") if isinstance(data, dict) else None
        if isinstance(given, list) and len(given) > MOST_ENDPOINTS:
            found = [at_value(("endpoints",), f"{len(given)} endpoints; at most {MOST_ENDPOINTS} are taken")]
            raise ValidationError.from_exception_data(cls.__name__, found)
        try:
            made = handler(data)
        except ValidationError as error:
            failure = error
        found = merge_errors(cls, failure, rules.check_endpoints(data, ()))
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found)
        assert made is not None
        return made


def load_endpoints(data: bytes, name: str) -> tuple[Endpoint, ...]:
    """The endpoints in the content of file `name`: a list, or a mapping with `endpoints`. ConfigErrors."""
    if len(data) > MOST_BYTES:
        raise ConfigErrors([ConfigError(name, 0, 0, "", "larger than 1 MiB")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigErrors([ConfigError(name, line, 1, "", "not UTF-8; save the file as UTF-8")]) from None
    root = document.parse(text, name)
    if root is None:
        message = "is empty; write [] for no endpoints"
        raise ConfigErrors([ConfigError(name, 0, 0, "", message)])
    if root.kind == "list":
        key = Node("scalar", name, root.line, root.column, "endpoints")
        root = Node("map", name, root.line, root.column, pairs=[(key, root)])
    if root.kind != "map":
        message = "must be a list of endpoints"
        raise ConfigErrors([ConfigError(name, root.line, root.column, "", message)])
    return validated(EndpointFile, root, [], {}).endpoints
