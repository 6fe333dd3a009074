"""The `key` of balancers: spellings, errors, and what a tcp listener allows."""

from __future__ import annotations

from typing import Any

import pytest

from lbd.config.dump import dump
from lbd.config.errors import ConfigErrors
from lbd.config.key import KeyChoice
from lbd.config.loader import load_text
from lbd.config.schema import Config

TEXT = """
listeners: [{name: web, bind: ":80", cluster: app}]
clusters: [{name: app, endpoints: ["h:1"], balancer: BALANCER}]
"""


def read(balancer: str, text: str = TEXT) -> Config:
    return load_text(text.replace("BALANCER", balancer), env={})


def key_of(balancer: str) -> Any:
    return read(balancer).clusters[0].balancer.options.key


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("source", KeyChoice(kind="source")),
        ("host", KeyChoice(kind="host")),
        ("path", KeyChoice(kind="path")),
        ("{header: X-User}", KeyChoice(kind="header", name="x-user")),
        ("{cookie: Session}", KeyChoice(kind="cookie", name="Session")),
        ("{query: user id}", KeyChoice(kind="query", name="user id")),
        ("{capture: tenant}", KeyChoice(kind="capture", name="tenant")),
    ],
)
def test_spellings(key: str, expected: KeyChoice) -> None:
    """Each is read, and what is written back is read the same."""
    assert key_of(f"{{name: hash, key: {key}}}") == expected
    config = read(f"{{name: hash, key: {key}, load_factor: 1.5}}")
    assert load_text(dump(config), env={}) == config


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("sauce", "unknown key 'sauce'; did you mean 'source'?"),
        ("header", "'header' needs a name; write {header: NAME}"),
        ("7", "must be source, host or path, or a mapping such as {header: X-User}"),
        ("{}", "give one of header, cookie, query, capture"),
        ("{header: a, cookie: b}", "give one of header, cookie, query, capture"),
        ("{heder: a}", "unknown key 'heder'; did you mean 'header'?"),
        ("{header: a b}", "'a b' is not a valid header name"),
        ("{header: 7}", "must be text; put the value in quotes"),
        ("{capture: ':id'}", "':id' is not the name of a capture (letters, digits, '_'; no ':')"),
    ],
)
def test_errors(key: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        read(f"{{name: hash, key: {key}}}")
    assert "clusters.app.balancer.key" in str(caught.value)
    assert str(caught.value).endswith(f": {message}")


@pytest.mark.parametrize("factor", ["1", "0", "-2", "101", "much"])
def test_load_factor_is_more_than_one(factor: str) -> None:
    with pytest.raises(ConfigErrors, match=r"balancer\.load_factor: "):
        read(f"{{name: ip_hash, load_factor: {factor}}}")


def test_ip_hash_has_no_key() -> None:
    with pytest.raises(ConfigErrors, match="unknown setting 'key'"):
        read("{name: ip_hash, key: host}")


TCP = """
listeners:
  - {name: db, bind: ":81", protocol: tcp, cluster: rows}
  - {name: web, bind: ":80", cluster: app}
clusters:
  - {name: rows, endpoints: ["h:1"], balancer: BALANCER}
  - {name: app, endpoints: ["h:1"], balancer: {name: hash, key: path}}
"""


@pytest.mark.parametrize("key", ["path", "{header: X-User}"])
def test_tcp_knows_the_source_only(key: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        read(f"{{name: hash, key: {key}}}", TCP)
    assert "must be source: cluster 'rows' serves the tcp listener 'db'" in str(caught.value)
    assert len(caught.value.errors) == 1


@pytest.mark.parametrize("balancer", ["hash", "ip_hash", "{name: hash, key: source}"])
def test_tcp_with_the_source(balancer: str) -> None:
    config = read(balancer, TCP)
    assert Config.model_validate(config) == config


def test_rule_holds_for_models_too() -> None:
    data = read("hash", TCP).model_dump()
    data["clusters"][0]["balancer"] = read("{name: hash, key: path}").clusters[0].balancer
    with pytest.raises(ValueError, match="must be source"):
        Config.model_validate(data)
