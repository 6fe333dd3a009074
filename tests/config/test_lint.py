"""The linter: every rule finds what it is for, says where, and lets good configurations alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from engine.routing import request
from hypothesis import given, settings
from hypothesis import strategies as st

from lbd import registry
from lbd.config.errors import ConfigErrors
from lbd.config.lint import lint
from lbd.config.loader import load, load_text
from lbd.config.schema import Config
from lbd.control.listeners import build_router

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
START = """admin: {bind: 127.0.0.1:9900}
listeners:
  - name: web
    bind: ':80'
    routes:
      - {name: first, match: {host: a.test, path: '/v1/*'}, cluster: c}
      - {name: last, cluster: c}
clusters:
  - {name: c, endpoints: ['10.0.0.1:1', '10.0.0.2:1']}
"""


def found(text: str) -> list[tuple[str, str]]:
    """(rule, place) of each finding."""
    return [
        (warned.rule, f"{warned.error.line}:{warned.error.path}")
        for warned in lint(load_text(text, "x.yaml"))
    ]


def altered(*edits: tuple[str, str]) -> str:
    text = START
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


LAST = "      - {name: last, cluster: c}"
CLUSTER = "endpoints: ['10.0.0.1:1', '10.0.0.2:1']"


def more(setting: str) -> tuple[str, str]:
    return (CLUSTER, f"{CLUSTER}, {setting}")


RETRIES = (
    "name: last, timeouts: {total: 5s}, "
    "retry: {on: [timeout], try_timeout: 1s, limit: 3, backoff: {base: 600ms, max: 800ms}},"
)
PANIC = (
    "panic_threshold: 30%, regions: {order: [eu]}, endpoints: "
    "[{address: '10.0.0.1:1', labels: {region: eu}}, {address: 'b:1', labels: {region: us}}]"
)

# what is changed of START -> the one finding that it causes
CASES: dict[str, list[tuple[list[tuple[str, str]], str]]] = {
    "shadowed-route": [
        ([(LAST, f"{LAST}\n      - {{name: more, cluster: c}}")], "8:listeners.web.routes.more"),
        (
            [(LAST, "      - {name: last, priority: 1, match: {host: '*.test'}, cluster: c}")],
            "6:listeners.web.routes.first",
        ),
        (
            [(LAST, "      - {name: last, priority: 1, match: {path: '/:version/*'}, cluster: c}")],
            "6:listeners.web.routes.first",
        ),
    ],
    "labels-of-nobody": [
        (
            [("name: last, cluster: c", "name: last, cluster: c, endpoint_labels: {v: '2'}")],
            "7:listeners.web.routes.last.endpoint_labels",
        )
    ],
    "no-key-in-path": [
        (
            [
                more("balancer: {name: hash, key: {capture: id}}"),
                ("/v1/*", "/v1/:id"),
            ],
            "7:listeners.web.routes.last",
        ),
        (
            [more("sticky: {key: {capture: id}}"), (LAST, "")],
            "6:listeners.web.routes.first.match.path",
        ),
    ],
    "no-client-certificates": [
        (
            [("path: '/v1/*'", "client_certificate: {subject: 'CN=a'}")],
            "6:listeners.web.routes.first.match.client_certificate",
        )
    ],
    "timeout-above-total": [
        (
            [("name: last,", "name: last, timeouts: {total: 5s, response: 6s},")],
            "7:listeners.web.routes.last.timeouts.response",
        ),
        (
            [("name: last,", "name: last, timeouts: {total: 5s, body: 6s},")],
            "7:listeners.web.routes.last.timeouts.body",
        ),
    ],
    "retries-above-total": [
        (
            [
                ("name: last,", "name: last, timeouts: {total: 5s},"),
                more("retry: {on: [timeout], try_timeout: 2500ms, limit: 2}"),
            ],
            "7:listeners.web.routes.last.timeouts.total",
        ),
        (
            [
                (
                    "name: last,",
                    RETRIES,
                )
            ],
            "7:listeners.web.routes.last.retry",
        ),
    ],
    "queue-above-total": [
        (
            [("name: last,", "name: last, timeouts: {total: 5s},"), more("timeouts: {queue: 6s}")],
            "7:listeners.web.routes.last.timeouts.total",
        )
    ],
    "try-above-response": [
        ([more("retry: {try_timeout: 30s}")], "9:clusters.c.retry.try_timeout"),
        (
            [("name: last,", "name: last, retry: {try_timeout: 4s}, timeouts: {response: 4s},")],
            "7:listeners.web.routes.last.retry.try_timeout",
        ),
    ],
    "unused-cluster": [
        ([("clusters:", "clusters:\n  - {name: spare, endpoints: ['10.0.0.3:1']}")], "9:clusters.spare")
    ],
    "fallback-loop": [
        (
            [
                more("fallback: {cluster: d}}\n  - {name: d, endpoints: ['h:1'], fallback: {cluster: c}"),
            ],
            "9:clusters.c.fallback.cluster",
        )
    ],
    "unsafe-retry": [
        ([more("retry: {methods: [GET, POST]}")], "9:clusters.c.retry.methods"),
        (
            [("name: last,", "name: last, retry: {methods: [PATCH], on: [], statuses: [503]},")],
            "7:listeners.web.routes.last.retry.methods",
        ),
    ],
    "retry-without-peers": [
        ([(CLUSTER, "endpoints: ['10.0.0.1:1'], retry: {limit: 2}")], "9:clusters.c.retry.limit")
    ],
    "large-retry-budget": [([more("retry_budget: {ratio: 51%}")], "9:clusters.c.retry_budget.ratio")],
    "idle-above-lifetime": [
        (
            [more("connections: {lifetime: 30s}, timeouts: {idle: 31s}")],
            "9:clusters.c.timeouts.idle",
        )
    ],
    "idle-not-learned": [
        ([more("connections: {learn_idle: false}")], "9:clusters.c.connections.learn_idle")
    ],
    "checks-overlap": [
        ([more("health_check: {interval: 2s, timeout: 3s}")], "9:clusters.c.health_check.timeout")
    ],
    "panic-without-checks": [
        ([more("panic_threshold: 30%, passive_check: 'off'")], "9:clusters.c.panic_threshold")
    ],
    "panic-with-residency": [
        (
            [
                (
                    CLUSTER,
                    PANIC,
                )
            ],
            "9:clusters.c.panic_threshold",
        )
    ],
    "places-without-labels": [
        ([("admin:", "zone: a\nadmin:"), more("zones: {}")], "10:clusters.c.zones"),
        ([more("regions: {order: [eu]}")], "9:clusters.c.regions"),
    ],
    "unverified-endpoints": [
        ([more("tls: {insecure_skip_verify: true}")], "9:clusters.c.tls.insecure_skip_verify")
    ],
    "admin-exposed": [
        ([("bind: 127.0.0.1:9900", "bind: 0.0.0.0:9900, token: swordfish-swordfish")], "1:admin.bind")
    ],
    "trusts-everybody": [
        ([("bind: ':80'", "bind: ':80'\n    trusted_proxies: [10.0.0.0/8, 0.0.0.0/0]")],
         "5:listeners.web.trusted_proxies[1]"),
        ([("bind: ':80'", "bind: ':80'\n    proxy_protocol: ['::/0']")], "5:listeners.web.proxy_protocol[0]"),
    ],
}  # fmt: skip


def test_every_rule_has_its_cases() -> None:
    assert set(CASES) == set(registry.names("lint"))


@pytest.mark.parametrize(
    ("rule", "edits", "place"), [(rule, *case) for rule, cases in CASES.items() for case in cases]
)
def test_a_rule_finds_what_it_is_for_and_nothing_else(
    rule: str, edits: list[tuple[str, str]], place: str
) -> None:
    text = altered(*edits)
    assert found(text) == [(rule, place)]
    assert found(f"{text}lint: {{ignore: [{rule}]}}\n") == []


@pytest.mark.parametrize("file", [None, *sorted(CONF.glob("*.yaml"))], ids=lambda file: file and file.name)
def test_good_configurations_are_let_alone(file: Path | None) -> None:
    config = load_text(START) if file is None else load(file, env={})
    assert [str(warned) for warned in lint(config)] == []


@pytest.mark.parametrize(
    "edits",
    [
        # specific hosts and paths come first by themselves
        [(LAST, f"{LAST}\n      - {{name: more, match: {{path: /x}}, cluster: c}}")],
        # more conditions come first by themselves
        [(LAST, f"{LAST}\n      - {{name: more, match: {{method: GET}}, cluster: c}}")],
        # of lower priority, the narrow one is left some
        [(LAST, "      - {name: last, priority: 1, match: {host: '*.test', method: GET}, cluster: c}")],
        [(LAST, "      - {name: last, priority: 1, match: {host: '*.a.test'}, cluster: c}")],
        [more("retry: {methods: [GET, POST], on: [connect_failed]}")],
        [(CLUSTER, "endpoints: ['10.0.0.1:1'], retry: {limit: 2, backoff: {}}")],
        [more("connections: {learn_idle: false}, timeouts: {idle: 4s}")],
        [more("sticky: {cookie: {}}")],
        [("name: last,", "name: last, timeouts: {total: 3s},")],
    ],
)
def test_what_is_no_mistake(edits: list[tuple[str, str]]) -> None:
    assert found(altered(*edits)) == []


def test_a_warning_says_its_place_and_its_rule() -> None:
    (warned,) = lint(load_text(altered((LAST, f"{LAST}\n      - {{name: more, cluster: c}}")), "x.yaml"))
    assert str(warned) == (
        "x.yaml:8:9: listeners.web.routes.more: warning: never chosen: all of its requests go to route last "
        "(x.yaml:7); remove it, or give it a higher priority [shadowed-route]"
    )


def test_an_unknown_rule_is_an_error() -> None:
    with pytest.raises(ConfigErrors) as caught:
        load_text(START + "lint: {ignore: [unused-clusters]}\n", "x.yaml")
    said = "lint.ignore[0]: there is no rule 'unused-clusters'; did you mean 'unused-cluster'?"
    assert str(caught.value) == f"x.yaml:10:17: {said}"


def test_a_configuration_made_in_code_has_findings_without_a_place() -> None:
    config = Config.model_validate(
        {
            "listeners": [{"name": "w", "bind": ":1", "https_redirect": True}],
            "clusters": [{"name": "c", "endpoints": ["h:1"]}],
        }
    )
    (warned,) = lint(config)
    assert str(warned).startswith("<config>: clusters[0]: warning: nothing leads here")


def test_the_document_lists_every_rule_and_no_other() -> None:
    text = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
    assert re.findall(r"^### `([a-z-]+)`$", text, re.MULTILINE) == list(registry.names("lint"))


PATHS = ["/*", "/a", "/a/*", "/a/b", "/:x", "/:x/*", "/a/:x", "/:x/b", "/a/:x:run"]
HOSTS = ["a.test", "*.test", "*.a.test", "b.a.test"]
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "host": st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2),
        "path": st.lists(st.sampled_from(PATHS), min_size=1, max_size=2),
        "method": st.sampled_from([["GET"], ["GET", "POST"]]),
        "header": st.sampled_from([{"x": True}, {"x": False}, {"x": "1"}, {"x": ["1", "2"]}, {"x": "*"}]),
    },
)
ASKED = [
    request(path, *fields, method=method, host=host)
    for path in ("/", "/a", "/a/", "/a/b", "/a/c:run", "/z/b", "/a/b/c")
    for host in ("a.test", "b.a.test", "c.b.a.test", "other")
    for method in ("GET", "POST")
    for fields in ((), ("x: 1",), ("x: 3",))
]


@settings(max_examples=150)
@given(st.lists(st.tuples(MATCHES, st.integers(0, 1)), min_size=2, max_size=5))
def test_what_is_said_to_be_shadowed_is_never_chosen_by_the_router(given: list[tuple[Any, int]]) -> None:
    routes = [
        {"name": f"r{index}", "match": match, "priority": priority, "respond": {}}
        for index, (match, priority) in enumerate(given)
    ]
    config = Config.model_validate({"listeners": [{"name": "web", "bind": ":1", "routes": routes}]})
    shadowed = {f"r{finding.location[3]}" for finding in _shadowed(config)}
    router = build_router(config.listeners[0], {})
    assert not shadowed & {router.explain(asked)["route"] for asked in ASKED}


def _shadowed(config: Config) -> Any:
    return registry.resolve("lint", "shadowed-route")(config)
