"""Values as people write them: durations, sizes, addresses, networks.

Each kind is a pair of pure functions, parse_x (text -> plain value, ValueError with a sentence for the
user) and format_x (the way back), so that the CLI can use them without pydantic; `lbd.config.types` makes
pydantic types of them. A new kind (rate, percentage, secret) is one more pair here and one more type
there.

Invariants: parse_x(format_x(v)) == v. Durations are float seconds, exact to the microsecond. Sizes are
int bytes. Addresses and networks stay text, in one canonical spelling, so that equal things compare
equal.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import NamedTuple

_MICROSECONDS = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")
DURATION_PATTERN = r"^(0|([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+)$"
_LONGEST = 3650 * _MICROSECONDS["d"]

_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?([kKMGT]B|[KMGT]iB|B)?$"
_LARGEST = 2**63 - 1

PERCENTAGE_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,6})?%$"
_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s?%")
STATUS_RANGE_PATTERN = r"^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"
_STATUS_RANGE = re.compile(r"([1-5][0-9][0-9])(?:\s?-\s?([1-5][0-9][0-9]))?")
_COMPARISON = re.compile(r"(<=|>=|<|>)\s*(\S.*)")
SIZE_COMPARISON_PATTERN = r"^(<=|>=|<|>) *[0-9]+(\.[0-9]+)? ?([kKMGT]B|[KMGT]iB|B)?$"

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
ADDRESS_PATTERN = r"^unix:/.+$|^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]+$"
BIND_PATTERN = r"^unix:/.+$|^(\[[0-9A-Fa-f:.]+\]|localhost|[0-9.]*):[0-9]+$"

MASK = "********"
# header fields whose values nobody gets to see
CREDENTIALS = frozenset(
    ("authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token", "api-key", "apikey")
)
SHORTEST_TOKEN = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what may stand behind Bearer (RFC 6750, section 2.1)

# A number longer than this is a mistake, and int() of very long text is slow or refused by Python itself.
_MOST_DIGITS = 40


class BadValue(ValueError):
    """A value that cannot be used; its text is a sentence for the user."""


class SizeComparison(NamedTuple):
    """A condition on a size, such as `> 10MB`."""

    operator: str
    size: int


def parse_duration(value: object) -> float:
    """`30s`, `1h30m`, `100ms` -> seconds. A bare number has no unit and is refused, except 0."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        raise BadValue(f"needs a unit: write {value}s for seconds or {value}ms for milliseconds")
    if not isinstance(value, str):
        raise BadValue("must be a duration such as 30s, 1h30m or 100ms")
    text = value.strip()
    if text == "0":
        return 0.0
    microseconds = Decimal(0)
    end = 0
    while part := _DURATION_PART.match(text, end):
        if len(part[1]) > _MOST_DIGITS:
            break
        microseconds += Decimal(part[1]) * _MICROSECONDS[part[2]]
        end = part.end()
    if end == 0 or end != len(text):
        raise BadValue(
            f"{shorten(value)} is not a duration; write it like 30s, 1h30m or 100ms "
            "(units: us, ms, s, m, h, d)"
        )
    if microseconds != microseconds.to_integral_value():
        raise BadValue(f"{shorten(value)} is finer than a microsecond")
    if microseconds > _LONGEST:
        raise BadValue(f"{shorten(value)} is longer than ten years")
    return int(microseconds) / 1_000_000


def format_duration(seconds: float) -> str:
    """The shortest usual spelling: 75.0 -> `75s`, 3600.0 -> `1h`, 5400.0 -> `90m`."""
    left = round(seconds * 1_000_000)
    if left == 0:
        return "0"
    for unit, length in _MICROSECONDS.items():
        if left % length == 0 and left // length < 1000:
            return f"{left // length}{unit}"
    parts = []
    for unit, length in _MICROSECONDS.items():
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_size(value: object) -> int:
    """`10MB` (10^6), `8KiB` (2^10), `512B` or a bare number of bytes -> bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _LARGEST:
            raise BadValue("must be a size between 0 and 8 EiB")
        return value
    if not isinstance(value, str):
        raise BadValue("must be a size such as 10MB, 8KiB or 512B")
    match = _SIZE.fullmatch(value.strip())
    if match is None or len(match[1]) > _MOST_DIGITS:
        raise BadValue(f"{shorten(value)} is not a size; write it like 10MB, 8KiB or 512B")
    unit = match[2] or "B"
    if unit not in _BYTES:
        raise BadValue(
            f"unknown size unit {unit!r}; use kB, MB, GB, TB (powers of 1000) "
            "or KiB, MiB, GiB, TiB (powers of 1024)"
        )
    size = Decimal(match[1]) * _BYTES[unit]
    if size != size.to_integral_value():
        raise BadValue(f"{shorten(value)} is not a whole number of bytes")
    if size > _LARGEST:
        raise BadValue(f"{shorten(value)} is too large")
    return int(size)


def format_size(size: int) -> str:
    """The shortest exact spelling: 10000000 -> `10MB`, 8192 -> `8KiB`."""
    spellings = [
        f"{size // scale}{unit}"
        for unit, scale in _BYTES.items()
        if unit != "KB" and size >= scale and size % scale == 0
    ]
    return min(spellings, key=len) if spellings else "0"


def parse_percentage(value: object) -> float:
    """`30%` -> 0.3; a bare 0 is none at all."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    match = _PERCENTAGE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise BadValue("must be a percentage such as 30% or 0.5%")
    if Decimal(match[1]) > 100:
        raise BadValue(f"{shorten(value)} is more than 100%")
    return float(Decimal(match[1]) / 100)


def format_percentage(fraction: float) -> str:
    """The way back of parse_percentage."""
    return f"{Decimal(repr(fraction)) * 100:f}".rstrip("0").rstrip(".") + "%" if fraction else "0%"


def parse_size_comparison(value: object) -> SizeComparison:
    """`> 10MB`, `<= 1MiB` -> operator and bytes."""
    match = _COMPARISON.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise BadValue('must be a comparison with a size such as "> 10MB" or "<= 1MiB"')
    return SizeComparison(match[1], parse_size(match[2]))


def format_size_comparison(comparison: SizeComparison) -> str:
    """The way back of parse_size_comparison."""
    return f"{comparison.operator} {format_size(comparison.size)}"


def parse_token(value: object) -> str:
    """The secret that clients of the admin listener present. No error shows it."""
    if not isinstance(value, str):
        raise BadValue("must be text; put the value in quotes")
    if value == MASK:
        raise BadValue("is masked here; write the token itself")
    if not SHORTEST_TOKEN <= len(value) <= 1024:
        raise BadValue(f"must have {SHORTEST_TOKEN} to 1024 characters")
    if not _TOKEN.fullmatch(value):
        raise BadValue("may have letters, digits and -._~+/ only, and '=' at its end")
    return value


def parse_secret(value: object) -> str:
    """A secret of any characters. No error shows it."""
    if not isinstance(value, str):
        raise BadValue("must be text; put the value in quotes")
    if value == MASK:
        raise BadValue("is masked here; write the secret itself")
    if not SHORTEST_TOKEN <= len(value) <= 1024:
        raise BadValue(f"must have {SHORTEST_TOKEN} to 1024 characters")
    return value


def mask_credentials(fields: Mapping[str, str]) -> dict[str, str]:
    """Header fields as they are printed."""
    return {name: MASK if name.lower() in CREDENTIALS else value for name, value in fields.items()}


def check_credentials(fields: dict[str, str]) -> dict[str, str]:
    """BadValue for a field that comes from a dump."""
    for name, value in fields.items():
        if value == MASK and name.lower() in CREDENTIALS:
            raise BadValue(f"{name} is masked here; write the value itself")
    return fields


def split_address(address: str) -> tuple[str, int]:
    """`[::1]:8080` -> ("::1", 8080); `:8080` -> ("", 8080); `unix:/a.sock` -> ("unix:/a.sock", 0).

    ValueError for anything else.
    """
    if address.startswith("unix:"):
        return address, 0
    host, colon, port = address.rpartition(":")
    if not colon:
        raise BadValue(f"{shorten(address)} has no port; write host:port")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise BadValue(f"{shorten(port)} is not a port number; ports go from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        except ValueError:
            raise BadValue(f"{shorten(host)} is not an IPv6 address") from None
    if ":" in host:
        raise BadValue(f"{shorten(address)}: write an IPv6 address in brackets, like [::1]:8080")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The way back of split_address."""
    if host.startswith("unix:"):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_bind(value: object) -> str:
    """An address to listen on: an IP address or `localhost` or nothing (all addresses), and a port."""
    text = _address_text(value, "must be an address to listen on, such as 0.0.0.0:8080 or :8080")
    if text.startswith("unix:"):
        return _unix_address(text)
    host, port = split_address(text)
    if host and host != "localhost" and not is_ip(host):
        raise BadValue(
            f"{shorten(host)} is not an IP address; write an IP address, localhost, "
            "or only :port for all addresses"
        )
    return join_address(host, port)


def parse_endpoint_address(value: object) -> str:
    """Where an endpoint is: a host name or IP address and a port."""
    text = _address_text(value, "must be an address such as 10.0.0.1:9001 or app.internal:9001")
    if text.startswith("unix:"):
        return _unix_address(text)
    host, port = split_address(text)
    if not host:
        raise BadValue(f"{shorten(text)} has no host; write host:port")
    if port == 0:
        raise BadValue("port 0 is no port of an endpoint; write the port that the server listens on")
    if not is_ip(host):
        if not _HOST_NAME.fullmatch(host) or len(host) > 253:
            raise BadValue(f"{shorten(host)} is not a host name or IP address")
        if re.fullmatch(r"[0-9.]+", host):
            raise BadValue(f"{shorten(host)} is not a complete IPv4 address")
        host = host.lower()
    return join_address(host, port)


def parse_host_name(value: object) -> str:
    """A DNS name, in lower case."""
    text = _address_text(value, "must be a host name such as api.example.com").lower().rstrip(".")
    if not _HOST_NAME.fullmatch(text) or len(text) > 253 or re.fullmatch(r"[0-9.]+", text):
        raise BadValue(f"{shorten(text)} is not a host name")
    return text


def parse_https_url(value: object) -> str:
    """An absolute https URL."""
    text = _address_text(value, "must be an https URL")
    if not re.fullmatch(r"https://[A-Za-z0-9._\-\[\]:]+(/[\x21-\x7e]*)?", text):
        raise BadValue(f"{shorten(text)} is not an https URL")
    return text


def parse_collector_url(value: object) -> str:
    """An absolute http or https URL; OTLP's own path when it has none."""
    text = _address_text(value, "must be an http or https URL")
    match = re.fullmatch(r"https?://[A-Za-z0-9._\-]+(:\d{1,5})?(/[\x21-\x7e]*)?", text) or re.fullmatch(
        r"https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?(/[\x21-\x7e]*)?", text
    )
    if match is None or (match[1] and not 0 < int(match[1][1:]) < 65536):
        raise BadValue(f"{shorten(text)} is not an http or https URL")
    return text if match[2] not in (None, "/") else text.rstrip("/") + "/v1/traces"


def parse_path(value: object) -> str:
    """The path of a file or directory."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise BadValue("must be the path of a file")
    return value.strip()


def parse_network(value: object) -> str:
    """`10.0.0.0/8`, `10.0.0.1`, `fd00::/8` -> the canonical CIDR spelling."""
    if not isinstance(value, str):
        raise BadValue("must be an IP address or a network such as 10.0.0.0/8")
    try:
        return str(ipaddress.ip_network(value.strip()))
    except ValueError:
        pass
    try:
        wanted = ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        raise BadValue(f"{shorten(value)} is not an IP address or a network such as 10.0.0.0/8") from None
    raise BadValue(f"{shorten(value)} has bits set after the prefix; did you mean {wanted}?")


def shorten(value: object) -> str:
    """A value quoted for an error message, cut when it is long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _address_text(value: object, otherwise: str) -> str:
    if not isinstance(value, str):
        raise BadValue(otherwise)
    return value.strip()


def _unix_address(text: str) -> str:
    """`unix:/run/app.sock`; the kernel takes 107 bytes of path."""
    path = text[len("unix:") :]
    if not path.startswith("/") or "\0" in path:
        raise BadValue(f"{shorten(text)}: write the absolute path of a unix socket, like unix:/run/app.sock")
    if len(path.encode()) > 107:
        raise BadValue(f"{shorten(text)}: the path of a unix socket may have 107 bytes at most")
    return text


def is_local(address: str) -> bool:
    """Whether only this machine can reach what listens there: a unix socket or a loopback address."""
    host, _ = split_address(address)
    if host.startswith("unix:") or host == "localhost":
        return True
    return is_ip(host) and ipaddress.ip_address(host).is_loopback


def is_ip(host: str) -> bool:
    """Whether it is an IP literal, without brackets and without a scope id."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return True
    return False


def parse_status_range(value: object) -> tuple[int, int]:
    """`200` or `200-399` -> (first, last), both of them included."""
    match = _STATUS_RANGE.fullmatch(str(value).strip()) if isinstance(value, (str, int)) else None
    if match is None or isinstance(value, bool):
        raise BadValue("must be a status code such as 200, or a range such as 200-399")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise BadValue("the range ends before it begins")
    return first, last
