"""Environment variables in scalars: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, and `$$` for one `$`.

Expansion happens after parsing, in values only: a variable can change what a value is, never add structure.
What is substituted is not expanded again. A `$` before anything but `{` or `$` stays as it is.
As in a shell, `:-` and `:?` take an empty variable for an unset one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lbd.config.units import BadValue

_REFERENCE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:[-?])([^}]*))?\}|(\{))")


def expand(text: str, env: Mapping[str, str]) -> str:
    """The text with its references replaced; ValueError with a sentence for the user."""
    return _REFERENCE.sub(lambda match: _replace(match, env), text) if "$" in text else text


def escape(text: str) -> str:
    """The text that expands to the given one."""
    return text.replace("$", "$$") if "$$" in text or "${" in text else text


def _replace(match: re.Match[str], env: Mapping[str, str]) -> str:
    dollar, name, operator, argument, broken = match.groups()
    if dollar:
        return "$"
    if broken:
        raise BadValue("'${' must be followed by a variable name and '}'; write '$$' for a plain '$'")
    value = env.get(name)
    if value is not None and not _is_unicode(value):
        raise BadValue(f"environment variable {name} is not valid UTF-8")
    if value or (value is not None and operator is None):
        return value
    if operator == ":-":
        return str(argument)
    if operator == ":?":
        raise BadValue(f"environment variable {name}: {argument or 'is required but not set'}")
    raise BadValue(f"environment variable {name} is not set; set it, or write ${{{name}:-default}}")


def _is_unicode(text: str) -> bool:
    # os.environ holds bytes that are not UTF-8 as lone surrogates
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
