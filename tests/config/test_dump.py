"""dump and JSON Schema: what is printed is what was loaded, in human spelling."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbd.config.dump import dump
from lbd.config.errors import ConfigErrors
from lbd.config.expand import escape, expand
from lbd.config.jsonschema import json_schema
from lbd.config.loader import load, load_text
from lbd.config.schema import Config
from lbd.config.units import MASK

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.name)
def test_a_dump_loads_back(file: Path) -> None:
    config = load(file, env={})
    text = dump(config)
    if MASK in text:  # what is masked has to be written again
        assert dump(load_text(text.replace(MASK, "another-secret-it-is"), env={})) == text
    else:
        assert load_text(text, env={}) == config


def test_a_dump_shows_defaults_as_people_write_them() -> None:
    text = dump(load(CONF / "minimal.yaml", env={}))
    for line in (
        "drain_timeout: 30s",
        "tunnel: 1h",
        "request_line: 8KiB",
        "body: 1GiB",
        "requests: none",
        "balancer: round_robin",
    ):
        assert re.search(rf"^ *{line}$", text, re.MULTILINE), line


def test_a_dump_masks_the_token() -> None:
    config = load_text(
        "admin: {token: swordfish-swordfish}\nlisteners: [{name: w, bind: ':1', cluster: c}]\n"
        "clusters: [{name: c, endpoints: ['h:1']}]\n"
    )
    assert "token: '********'" in dump(config)
    assert "swordfish" not in dump(config) + repr(config) + str(config)


def test_a_dump_masks_what_signs_and_what_checks_present() -> None:
    text = """
listeners: [{name: w, bind: ':1', cluster: c}]
clusters:
  - name: c
    endpoints: ['h:1']
    health_check: {headers: {Authorization: Bearer swordfish, x-api-key: swordfish, accept: text/plain}}
    sticky: {cookie: {secret: swordfish-swordfish}}
"""
    config = load_text(text)
    assert "swordfish" not in dump(config) and "accept: text/plain" in dump(config)
    assert "swordfish-swordfish" not in repr(config)
    for secret in ("Bearer swordfish", "swordfish-swordfish"):
        with pytest.raises(ConfigErrors, match="is masked here; write the"):
            load_text(text.replace(secret, "'********'"))


@given(st.text(), st.text(min_size=1))
@example("\x85", "a\u2028b\r\n")
def test_any_text_survives(environment: str, body: str) -> None:
    listener = {"name": "w", "bind": ":1", "routes": [{"respond": {"body": body}}]}
    config = Config.model_validate({"environment": environment, "listeners": [listener]})
    assert load_text(dump(config), env={}) == config


@given(st.text(alphabet="${}:-ab"))
def test_escaped_text_expands_to_itself(text: str) -> None:
    assert expand(escape(text), {}) == text


def test_json_schema() -> None:
    schema = json.loads(json.dumps(json_schema()))
    definitions = schema["$defs"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["listeners"]
    assert definitions["ListenerTimeouts"]["properties"]["tunnel"]["default"] == "1h"
    assert definitions["ListenerLimits"]["properties"]["head"]["default"] == "32KiB"
    assert definitions["Cluster"]["properties"]["balancer"]["default"] == "round_robin"
    for name, definition in definitions.items():
        assert definition["additionalProperties"] is False, name


def test_patterns_of_the_schema_accept_the_examples() -> None:
    """Strings against patterns, by hand: no JSON Schema validator is among the dependencies."""
    schema = json_schema()
    checked = 0

    def walk(value: Any, rule: dict[str, Any]) -> None:
        nonlocal checked
        if "$ref" in rule:
            rule = schema["$defs"][rule["$ref"].rpartition("/")[2]]
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, rule.get("properties", {}).get(key, {}))
        elif isinstance(value, list):
            for item in value:
                walk(item, rule.get("items", {}))
        elif isinstance(value, str) and "pattern" in rule:
            checked += 1
            assert re.search(rule["pattern"], value), (value, rule)

    for file in sorted(CONF.glob("*.yaml")):
        walk(json.loads(json.dumps(load(file, env={}).model_dump(mode="json"))), schema)
    assert checked > 100


def test_an_empty_list_in_place_of_a_default_survives() -> None:
    config = load_text(
        "listeners: [{name: w, bind: ':1', cluster: c}]\n"
        "clusters: [{name: c, endpoints: ['h:1'], failure_statuses: [], retry: {on: []}}]\n"
    )
    assert config.clusters[0].failure_statuses == ()
    assert load_text(dump(config)) == config
