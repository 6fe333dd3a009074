"""Pydantic types of `units` and `patterns`: parse on the way in, human spelling on the way out.

`model_dump()` keeps plain numbers (for code), `model_dump(mode="json")` writes what a person would write
(for `lbd config dump`). No type here is a union in pydantic's eyes: one function reads all spellings, so
that an error is one sentence at one place and not one per alternative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    Strict,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from lbd.config import patterns, units
from lbd.config.units import BadValue

_DURATION_SCHEMA = {"type": ["string", "integer"], "pattern": units.DURATION_PATTERN, "maximum": 0}
_SIZE_SCHEMA = {"type": ["string", "integer"], "pattern": units.SIZE_PATTERN, "minimum": 0}


def _positive_duration(value: object) -> float:
    seconds = units.parse_duration(value)
    if seconds == 0:
        raise BadValue("must be longer than 0")
    return seconds


def _or_none(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    def parse_or_none(value: object) -> Any:
        return None if value == "none" else parse(value)

    return parse_or_none


def _format_or_none(form: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def format_or_none(value: Any) -> Any:
        return "none" if value is None else form(value)

    return format_or_none


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadValue("must be a whole number or none")
    if value < 1:
        raise BadValue("must be at least 1, or none for no limit")
    return value


# As the context of a validation: secrets may be MASK, what is validated comes from a dump.
MASKED = {"masked": True}


def _token(value: object, info: ValidationInfo) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    return SecretStr(units.MASK if _may_be_masked(value, info) else units.parse_token(value))


def _secret(value: object, info: ValidationInfo) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    return SecretStr(units.MASK if _may_be_masked(value, info) else units.parse_secret(value))


def _credentials(fields: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    return fields if info.context == MASKED else units.check_credentials(fields)


def _may_be_masked(value: object, info: ValidationInfo) -> bool:
    return value == units.MASK and info.context == MASKED


def _same(value: Any) -> Any:
    return value


def _as_tuple(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if value in ([], ()):
        raise BadValue("must not be an empty list; leave the setting out instead")
    return value


Duration = Annotated[
    float,
    PlainValidator(units.parse_duration),
    PlainSerializer(units.format_duration, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
PositiveDuration = Annotated[
    float,
    PlainValidator(_positive_duration),
    PlainSerializer(units.format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": units.DURATION_PATTERN}),
]
DurationOrNone = Annotated[
    float | None,
    PlainValidator(_or_none(_positive_duration)),
    PlainSerializer(_format_or_none(units.format_duration), when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"{units.DURATION_PATTERN}|^none$"}),
]
Size = Annotated[
    int,
    BeforeValidator(units.parse_size),
    PlainSerializer(units.format_size, when_used="json"),
    WithJsonSchema(_SIZE_SCHEMA),
]
SizeOrNone = Annotated[
    int | None,
    PlainValidator(_or_none(units.parse_size)),
    PlainSerializer(_format_or_none(units.format_size), when_used="json"),
    WithJsonSchema(_SIZE_SCHEMA | {"pattern": f"{units.SIZE_PATTERN}|^none$"}),
]
CountOrNone = Annotated[
    int | None,
    PlainValidator(_or_none(_count)),
    PlainSerializer(_format_or_none(_same), when_used="json"),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 1, "pattern": "^none$"}),
]
SizeCondition = Annotated[
    units.SizeComparison,
    PlainValidator(
        lambda value: value if isinstance(value, units.SizeComparison) else units.parse_size_comparison(value)
    ),
    PlainSerializer(units.format_size_comparison, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": units.SIZE_COMPARISON_PATTERN}),
]

Percentage = Annotated[
    float,
    PlainValidator(lambda value: value if isinstance(value, float) else units.parse_percentage(value)),
    PlainSerializer(units.format_percentage, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "pattern": units.PERCENTAGE_PATTERN, "maximum": 0}),
]

# Shown as MASK wherever it is printed, so a dump with one does not load back as it is.
Token = Annotated[
    SecretStr,
    PlainValidator(_token),
    PlainSerializer(lambda token: units.MASK, when_used="json"),
    WithJsonSchema({"type": "string", "minLength": units.SHORTEST_TOKEN, "writeOnly": True}),
]
Secret = Annotated[
    SecretStr,
    PlainValidator(_secret),
    PlainSerializer(lambda secret: units.MASK, when_used="json"),
    WithJsonSchema({"type": "string", "minLength": units.SHORTEST_TOKEN, "writeOnly": True}),
]
Integer = Annotated[int, Strict()]
Identifier = Annotated[
    str,
    PlainValidator(patterns.parse_identifier),
    WithJsonSchema({"type": "string", "pattern": patterns.IDENTIFIER_PATTERN}),
]
BindAddress = Annotated[
    str, PlainValidator(units.parse_bind), WithJsonSchema({"type": "string", "pattern": units.BIND_PATTERN})
]
EndpointAddress = Annotated[
    str,
    PlainValidator(units.parse_endpoint_address),
    WithJsonSchema({"type": "string", "pattern": units.ADDRESS_PATTERN}),
]
Network = Annotated[str, PlainValidator(units.parse_network), WithJsonSchema({"type": "string"})]
_TOKEN_SCHEMA = WithJsonSchema({"type": "string", "pattern": patterns.TOKEN_PATTERN})
HostPattern = Annotated[str, PlainValidator(patterns.parse_host_pattern), WithJsonSchema({"type": "string"})]
PathPattern = Annotated[
    str, PlainValidator(patterns.parse_path_pattern), WithJsonSchema({"type": "string", "pattern": "^/"})
]
Method = Annotated[str, PlainValidator(patterns.parse_method), _TOKEN_SCHEMA]
FieldName = Annotated[str, PlainValidator(patterns.parse_field_name), _TOKEN_SCHEMA]
CookieName = Annotated[str, PlainValidator(patterns.parse_cookie_name), _TOKEN_SCHEMA]
QueryName = Annotated[str, PlainValidator(patterns.parse_query_name), WithJsonSchema({"type": "string"})]
TrailerName = Annotated[str, PlainValidator(patterns.parse_trailer_name), _TOKEN_SCHEMA]
ResponseFieldName = Annotated[str, PlainValidator(patterns.parse_response_field_name), _TOKEN_SCHEMA]
FieldValue = Annotated[str, PlainValidator(patterns.parse_field_value), WithJsonSchema({"type": "string"})]
# What lbd sends by itself; those with credentials are masked as a Token is.
RequestFields = Annotated[
    dict[FieldName, FieldValue],
    AfterValidator(_credentials),
    PlainSerializer(units.mask_credentials, when_used="json"),
]
Authority = Annotated[str, PlainValidator(patterns.parse_authority), WithJsonSchema({"type": "string"})]
FilePath = Annotated[
    str, PlainValidator(units.parse_path), WithJsonSchema({"type": "string", "minLength": 1})
]
HostName = Annotated[str, PlainValidator(units.parse_host_name), WithJsonSchema({"type": "string"})]
AcmeUrl = Annotated[str, PlainValidator(units.parse_https_url), WithJsonSchema({"type": "string"})]
CollectorUrl = Annotated[
    str, PlainValidator(units.parse_collector_url), WithJsonSchema({"type": "string"})
]
CipherList = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+:@!=_-]+$", max_length=1024)]
Label = Annotated[str, StringConstraints(max_length=256)]

# A condition on a value: globs of which one must match, or True = present, False = absent.
ValuePatterns = Annotated[
    tuple[str, ...] | bool,
    PlainValidator(patterns.parse_value_patterns),
    PlainSerializer(lambda value: value if isinstance(value, bool) else list(value), when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "boolean"]},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
        }
    ),
]


_GLOBS = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


def _one_or_many(items: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [items, {"type": "array", "items": items, "minItems": 1}]})


# One text or a list of them; always a tuple in code. Empty = not given.
BindAddresses = Annotated[
    tuple[BindAddress, ...],
    BeforeValidator(_as_tuple),
    _one_or_many({"type": "string", "pattern": units.BIND_PATTERN}),
]
AcmeHosts = Annotated[tuple[HostName, ...], BeforeValidator(_as_tuple), _one_or_many({"type": "string"})]
HostPatterns = Annotated[
    tuple[HostPattern, ...], BeforeValidator(_as_tuple), _one_or_many({"type": "string"})
]
PlainPaths = Annotated[
    tuple[
        Annotated[
            str,
            PlainValidator(patterns.parse_plain_path),
            WithJsonSchema({"type": "string", "pattern": "^/"}),
        ],
        ...,
    ],
    BeforeValidator(_as_tuple),
    _one_or_many({"type": "string", "pattern": "^/"}),
]
PathPatterns = Annotated[
    tuple[PathPattern, ...], BeforeValidator(_as_tuple), _one_or_many({"type": "string", "pattern": "^/"})
]
Globs = Annotated[
    tuple[_GLOBS, ...], BeforeValidator(_as_tuple), _one_or_many({"type": "string", "minLength": 1})
]
Methods = Annotated[
    tuple[Method, ...],
    BeforeValidator(_as_tuple),
    _one_or_many({"type": "string", "pattern": patterns.TOKEN_PATTERN}),
]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_as_tuple), _one_or_many({"type": "string"})]

Port = Annotated[Integer, Field(ge=1, le=65535)]
