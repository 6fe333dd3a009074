"""Loading: every error with its place, environment variables, directories, and never another exception."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lbd.config.loader import ConfigErrors, load, load_text
from lbd.config.schema import Cluster, Config

CLUSTERS = "clusters:\n  - {name: app, endpoints: ['127.0.0.1:9001']}\n"
OUTSIDE = (
    "x.yaml:5:15: admin.bind: other machines can reach it: "
    "give 'admin.token', or bind to 127.0.0.1 or unix:"
)
GOOD = "listeners:\n  - {name: web, bind: ':8080', cluster: app}\n" + CLUSTERS


def errors_of(text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load_text(text, "x.yaml", env or {})
    assert "Input should" not in str(caught.value)
    assert "https://" not in str(caught.value)
    return str(caught.value).splitlines()


def test_the_contract_of_errors() -> None:
    text = (
        "listeners:\n  - {name: web, bind: ':1', cluster: api}\n"
        "clusters:\n  - name: api\n    balancer: leastconn\n    endpoints: [a:1]\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        load_text(text, "conf/lbd.yaml", {})
    (error,) = caught.value.errors
    assert (error.file, error.line, error.column, error.path) == (
        "conf/lbd.yaml",
        5,
        15,
        "clusters.api.balancer",
    )
    assert str(caught.value) == (
        "conf/lbd.yaml:5:15: clusters.api.balancer: unknown balancer 'leastconn'; did you mean 'least_conn'?"
    )


def test_all_errors_in_one_run_sorted_by_place() -> None:
    text = """\
wrkers: 1
listeners:
  - name: web
    bind: 0.0.0.0:8080
    timeouts: {head: 10}
    timeouts: {}
    access_log: {formt: json}
    routes:
      - match: {path: v1, header: {n: 3}}
        cluster: apo
        respond: {status: no}
clusters:
  - name: api
    host: ${NOPE}
    endpoints:
      - {address: 10.0.0.1:9001, weight: 3.5}
      - 10.0.0.1:9001
    timeouts:
"""
    assert errors_of(text) == [
        "x.yaml:1:1: wrkers: unknown setting 'wrkers'; did you mean 'workers'?",
        (
            "x.yaml:5:22: listeners.web.timeouts.head: "
            "needs a unit: write 10s for seconds or 10ms for milliseconds"
        ),
        "x.yaml:6:5: listeners.web.timeouts: given twice; first at line 5, column 5",
        "x.yaml:7:18: listeners.web.access_log.formt: unknown setting 'formt'; did you mean 'format'?",
        "x.yaml:9:23: listeners.web.routes[0].match.path: 'v1' must begin with '/'",
        (
            "x.yaml:9:39: listeners.web.routes[0].match.header.n: must be text with optional '*', "
            "a list of such texts, "
            "true (present) or false (absent); put numbers in quotes"
        ),
        "x.yaml:10:18: listeners.web.routes[0].cluster: unknown cluster 'apo'; did you mean 'api'?",
        "x.yaml:11:9: listeners.web.routes[0].respond: give either 'cluster' or 'respond', not both",
        "x.yaml:11:27: listeners.web.routes[0].respond.status: must be a whole number, not 'no'",
        (
            "x.yaml:14:11: clusters.api.host: "
            "environment variable NOPE is not set; set it, or write ${NOPE:-default}"
        ),
        "x.yaml:16:42: clusters.api.endpoints[0].weight: must be a whole number, not 3.5",
        "x.yaml:17:9: clusters.api.endpoints[1]: 10.0.0.1:9001 is already endpoint 0 of this cluster",
        "x.yaml:18:14: clusters.api.timeouts: has no value; give one, or remove the setting",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: is empty; it needs at least 'listeners'"),
        ("[1]", "x.yaml:1:1: must be a mapping of settings such as 'listeners:' and 'clusters:'"),
        ("clusters: []", "x.yaml:1:1: required setting 'listeners' is missing"),
        ("listeners: []", "x.yaml:1:12: listeners: must not be empty"),
        ("listeners: {}", "x.yaml:1:12: listeners: must be a list"),
        ("listeners: [web]", "x.yaml:1:13: listeners[0]: must be a mapping of settings"),
        (
            GOOD + "log: {level: inf}",
            "x.yaml:5:14: log.level: must be debug, info, warning or error, not 'inf'; did you mean 'info'?",
        ),
        (GOOD + "environment: 1.10", "x.yaml:5:14: environment: must be text; put the value in quotes"),
        (GOOD + "workers: 0", "x.yaml:5:10: workers: must be a whole number of at least 1, or auto"),
        (GOOD + "access_log: on", "x.yaml:5:13: access_log: must be off, not 'on'"),
        (
            GOOD + "admin: {bind: ':8080', token: 0123456789abcdef0}",
            "x.yaml:5:15: admin.bind: :8080 is already bound by listener web",
        ),
        (
            GOOD + "admin: {bind: '10.0.0.1:9900'}",
            OUTSIDE,
        ),
        (
            GOOD + "admin: {token: tooshort}",
            "x.yaml:5:16: admin.token: must have 16 to 1024 characters",
        ),
        (
            GOOD + "admin: {token: 'swordfish swordfish'}",
            "x.yaml:5:16: admin.token: may have letters, digits and -._~+/ only, and '=' at its end",
        ),
        (
            GOOD + "admin: {token: 1234567890123456}",
            "x.yaml:5:16: admin.token: must be text; put the value in quotes",
        ),
        (
            GOOD + "admin: {token: '********'}",
            "x.yaml:5:16: admin.token: is masked here; write the token itself",
        ),
        (GOOD + "environment: " + "9" * 200, f"x.yaml:5:14: environment: '{'9' * 40}' is not a usable int"),
    ],
)
def test_single_errors(text: str, message: str) -> None:
    assert errors_of(text) == [message]


def test_settings_given_twice_at_every_depth() -> None:
    """Each of them is read once: twice in each other would never end."""
    inner = "1"
    for _ in range(40):
        inner = f"{{a: {inner}, a: 2}}"
    found = errors_of(f"listeners: []\nx: {inner}\n")
    assert sum("given twice" in line for line in found) == 40


ENV = {"PORT": "8080", "EMPTY": "", "TRICK": "a, b: [c]", "REF": "${PORT}", "NUMBER": "12", "BYTES": "\udce4"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a-${PORT}", "a-8080"),
        ("${NOPE:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("'${EMPTY}'", ""),
        ("${TRICK}", "a, b: [c]"),
        ("${REF}", "${PORT}"),
        ("$${PORT}", "${PORT}"),
        ("a$b $5 $", "a$b $5 $"),
        ("'${NUMBER}'", "12"),
    ],
)
def test_environment_variables(value: str, expected: str) -> None:
    assert load_text(GOOD + f"environment: {value}", env=ENV).environment == expected


def test_a_plain_variable_gets_the_type_that_it_looks_like() -> None:
    text = GOOD.replace("cluster: app}", "cluster: app, backlog: '${PORT}'}")
    assert "must be a whole number, not '8080'" in errors_of(text, ENV)[0]
    text = (
        "listeners:\n  - name: web\n    bind: 127.0.0.1:${PORT}\n    backlog: ${NUMBER}\n    cluster: app\n"
        + CLUSTERS
    )
    listener = load_text(text, env=ENV).listeners[0]
    assert (listener.bind, listener.backlog) == (("127.0.0.1:8080",), 12)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("${NOPE:?set it to the region}", "environment variable NOPE: set it to the region"),
        ("${EMPTY:?}", "environment variable EMPTY: is required but not set"),
        ("${BYTES:-x}", "environment variable BYTES is not valid UTF-8"),
        ("${}", "'${' must be followed by a variable name"),
        ("a ${b", "'${' must be followed by a variable name"),
    ],
)
def test_bad_references(value: str, sentence: str) -> None:
    (line,) = errors_of(GOOD + f"environment: {value}", ENV)
    assert line.startswith("x.yaml:5:14: environment: ")
    assert sentence in line


def test_an_error_is_one_line_whatever_the_key_is() -> None:
    (line,) = errors_of(GOOD + '"a\\nb\\e[31m": 1')
    assert line.startswith("x.yaml:5:1: 'a\\nb\\x1b[31m': unknown setting 'a\\nb\\x1b[31m'")


def test_keys_are_not_expanded() -> None:
    assert "unknown setting '${PORT}'" in errors_of(GOOD + "${PORT}: 1", ENV)[0]


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return directory


def test_a_directory_is_one_configuration(tmp_path: Path) -> None:
    write(
        tmp_path,
        a_yaml="listeners:\n  - {name: web, bind: ':1', cluster: app}\n",
        b_yml=CLUSTERS + "environment: test\n",
        c_json='{"listeners": [{"name": "two", "bind": ":2", "cluster": "app"}]}',
        d_yaml="# nothing\n",
        e_txt="not: read",
    )
    (tmp_path / ".hidden.yaml").write_text("not: read", encoding="utf-8")
    (tmp_path / "below.yaml").mkdir()
    config = load(tmp_path, env={})
    assert [listener.name for listener in config.listeners] == ["web", "two"]
    assert config.environment == "test"


def test_errors_of_a_directory_name_the_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        a_yaml="environment: a\nlog: {level: info}\n" + GOOD,
        b_yaml="environment: b\nlog: {}\nclusters:\n  - {name: app, endpoints: ['h:1'], wight: 1}\n",
        c_yaml="[]",
    )
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path, env={})
    a, b, c = (tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml"))
    assert str(caught.value).splitlines() == [
        f"{b}:1:1: environment: already given at {a}:1:1",
        f"{b}:2:1: log: already given at {a}:2:1",
        f"{b}:4:12: clusters.app.name: there is already a cluster named 'app'",
        (
            f"{b}:4:37: clusters.app.wight: unknown setting 'wight'; "
            f"known are {', '.join(sorted(Cluster.model_fields))}"
        ),
        f"{c}:1:1: must be a mapping of settings such as 'listeners:' and 'clusters:'",
    ]


def test_what_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe4")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, message in [
        (tmp_path / "nope.yaml", f"{tmp_path}/nope.yaml: no such file; name another with -c FILE"),
        (latin, f"{latin}:2:4: not UTF-8: byte 0xe4; save the file as UTF-8"),
        (empty, f"{empty}: no *.yaml, *.yml or *.json file in this directory"),
        (latin / "x", f"{latin}/x: cannot be read: Not a directory"),
        (Path("a\0b"), "a\0b: cannot be read: embedded null byte"),
    ]:
        with pytest.raises(ConfigErrors) as caught:
            load(path)
        assert str(caught.value) == message


def is_config_or_errors(text: str) -> None:
    try:
        assert isinstance(load_text(text, env=ENV), Config)
    except ConfigErrors as errors:
        assert errors.errors
        assert all(error.message for error in errors.errors)


@given(st.text())
@settings(max_examples=120)
@example("a: &a [*a]")
@example("? {a: b}\n: c")
@example("<<: *x")
@example("\ud800")
def test_any_text_is_a_config_or_errors(text: str) -> None:
    is_config_or_errors(text)
    is_config_or_errors(GOOD + text)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        [
            "off",
            "none",
            "30s",
            "1MB",
            ":80",
            "a:1",
            "app",
            "web",
            "tcp",
            "*.x",
            "/a/*",
            "/:a/:a",
            "${PORT}",
            "${X}",
            "auto",
        ]
    ),
)
KEYS = st.sampled_from(
    [
        "workers",
        "admin",
        "log",
        "access_log",
        "listeners",
        "clusters",
        "name",
        "bind",
        "protocol",
        "cluster",
        "routes",
        "match",
        "host",
        "path",
        "header",
        "query",
        "cookie",
        "source",
        "body_size",
        "respond",
        "status",
        "headers",
        "body",
        "timeouts",
        "limits",
        "head",
        "endpoints",
        "address",
        "weight",
        "labels",
        "balancer",
        "connections",
        "max",
        "trusted_proxies",
        "trailers",
        "priority",
        "<<",
        "<on>",
        "<off>",
        "[key]",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=30,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
@settings(max_examples=120)
def test_any_structure_is_a_config_or_errors(data: dict[str, object]) -> None:
    is_config_or_errors(json.dumps(data))


@given(
    st.sampled_from(
        [
            "timeouts",
            "limits",
            "match",
            "routes",
            "bind",
            "respond",
            "balancer",
            "endpoints",
            "labels",
            "header",
        ]
    ),
    VALUES,
)
@settings(max_examples=120)
def test_any_value_of_a_setting_is_a_config_or_errors(key: str, value: object) -> None:
    match: dict[str, object] = {"header": {}}
    route: dict[str, object] = {"match": match, "cluster": "app"}
    listener: dict[str, object] = {"name": "web", "bind": ":1", "routes": [route]}
    endpoint: dict[str, object] = {"address": "a:1", "labels": {}}
    cluster: dict[str, object] = {"name": "app", "endpoints": [endpoint]}
    data = {"listeners": [listener], "clusters": [cluster]}
    for mapping in (match, route, listener, endpoint, cluster):
        before = dict(mapping)
        mapping[key] = value
        is_config_or_errors(json.dumps(data))
        mapping.clear()
        mapping.update(before)
