"""A Config written back as YAML: every setting with the value that is in effect, as a person would write it.

Invariant: load_text(dump(config)) == config, also where a text looks like a number or holds a `$`; but what
is masked has to be written again.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import BaseModel

from lbd.config import types
from lbd.config.document import scalar_type
from lbd.config.expand import escape
from lbd.config.schema import Config


def dump(config: Config) -> str:
    """The effective configuration as YAML; what is absent (null, empty) is left out."""
    return yaml.dump(data_of(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def data_of(config: Config) -> dict[str, Any]:
    """The same as plain data, for JSON. Secrets are masked."""
    data = _present(config.model_dump(mode="json"), config)
    assert isinstance(data, dict)
    return data


def from_data(data: Any) -> Config:
    """The Config of what `data_of` gave; masked secrets stay MASK, so nothing can serve with it. pydantic's
    ValidationError for anything else."""
    return Config.model_validate(data, context=types.MASKED)


def _present(shown: Any, value: Any) -> Any:
    """`shown` without what is absent; an empty list stays where the default is not empty."""
    if isinstance(shown, list):
        values = value if isinstance(value, tuple) and len(value) == len(shown) else (None,) * len(shown)
        return [_present(item, inner) for item, inner in zip(shown, values, strict=True)]
    if not isinstance(shown, dict):
        return shown
    fields = type(value).model_fields if isinstance(value, BaseModel) else {}
    found = {}
    for key, item in shown.items():
        default = fields[key].default if key in fields else None
        item = _present(item, getattr(value, key) if key in fields else None)
        if item is not None and (item not in ({}, []) or (isinstance(default, tuple) and default)):
            found[key] = item
    return found


_LINE_BREAKS = re.compile("[\r\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)  # lists are indented below their key, like in conf/


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML quotes what YAML 1.1 would misread; 1.2 has more numbers (0o17, 1e3)
    style = "'" if scalar_type(text) != "str" else None
    if _LINE_BREAKS.search(text):
        style = '"'  # PyYAML takes these for line ends, and only double quotes escape them
    return dumper.represent_scalar("tag:yaml.org,2002:str", escape(text), style=style)


_Dumper.add_representer(str, _represent_text)


def written_default(model: type[BaseModel], name: str) -> Any:
    """The default of a setting as a person writes it; None when it has none or is absent by default."""
    if model.model_fields[name].is_required():
        return None
    return model.model_construct().model_dump(mode="json", include={name}, warnings=False)[name]
