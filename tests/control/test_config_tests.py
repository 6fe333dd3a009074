"""Config tests: requests of the configuration, decided by what serves traffic."""

from __future__ import annotations

from pathlib import Path

import pytest
from control.worlds import compiled

from lbd.config.errors import ConfigErrors
from lbd.config.loader import load, load_text
from lbd.control.config_tests import failed_tests

BASE = """
listeners:
  - name: web
    bind: ':8080'
    routes:
      - {name: user, match: {host: api.test, path: '/users/:id'}, cluster: api}
      - {name: post, match: {host: api.test, method: POST, path: /v1/*}, cluster: api,
         endpoint_labels: {version: v2}, limits: {body: 1KiB}}
      - {name: inside, match: {path: /inside, source: 10.0.0.0/8}, cluster: web}
      - {name: gone, match: {host: old.test}, respond: {status: 410}}
      - {match: {path: /rest}, cluster: web}
  - {name: tls, bind: ':8443', tls: {certificates: [{cert: none.pem, key: none.pem}]}, cluster: web}
  - {name: plain, bind: ':80', https_redirect: {port: 8443}}
  - {name: db, bind: ':5432', protocol: tcp, cluster: keyed}
clusters:
  - {name: api, endpoints: [{address: 'one.internal:1', labels: {version: v2}}, 'two.internal:1']}
  - {name: web, endpoints: ['10.0.1.1:1'], fallback: {cluster: api}}
  - {name: keyed, balancer: {name: ring_hash, virtual_nodes: 3}, endpoints: [{address: '10.0.2.1:1', name: a},
     {address: '10.0.2.2:1', name: b}]}
  - {name: by_path, balancer: {name: maglev, key: path},
     endpoints: ['10.0.2.1:1', '10.0.2.2:1', '10.0.2.3:1']}
"""


def outcome(*tests: str, base: str = BASE) -> list[str]:
    text = base + "tests:\n" + "".join(f"  - {test}\n" for test in tests)
    config = load_text(text, "x.yaml")
    failed = failed_tests(None, config)
    with compiled(text.replace("tls: {certificates: [{cert: none.pem, key: none.pem}]}, ", "")) as runtime:
        assert failed_tests(runtime, config) == failed, (
            "a compiled Runtime says the same, whatever resolves there"
        )
    return failed


@pytest.mark.parametrize(
    "test",
    [
        "{request: 'http://api.test:8080/users/7', expect: {route: user, cluster: api, captures: {id: '7'}}}",
        "{request: {method: POST, host: api.test, path: /v1, listener: web}, expect: {route: post}}",
        "{request: 'POST http://api.test:8080/v1/x', expect: {labels: {version: v2}}}",
        "{request: 'POST http://api.test:8080/v1/x', expect: {route: post}}",
        "{request: {url: 'http://any.test:8080/inside', client: 10.1.2.3}, expect: {route: inside}}",
        "{request: 'http://any.test:8080/inside', expect: {route: none, status: 404}}",
        "{request: 'http://old.test:8080/', expect: {route: gone, status: 410}}",
        "{request: 'http://x:8080/rest', expect: {route: 'web[4]', cluster: web}}",
        "{request: 'https://x/', expect: {route: 'tls[0]', cluster: web}}",
        "{request: 'http://x/', expect: {status: 308}}",
        "{request: {url: 'http://api.test:8080/v1/x', method: POST, body: 2KiB}, expect: {status: 413}}",
        "{request: {listener: db, client: 10.9.9.9}, expect: {cluster: keyed}}",
        "{request: 'http://api.test:8080/users/%2e%2e/users/8', expect: {captures: {id: '8'}}}",
    ],
)
def test_what_holds(test: str) -> None:
    assert outcome(test) == []


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            "{name: a, request: 'http://api.test:8080/users/7', expect: {route: gone}}",
            "tests.a.expect.route: expected route gone, got route user (GET http://api.test:8080/users/7)",
        ),
        (
            "{request: 'http://old.test:8080/', expect: {cluster: web}}",
            "tests[0].expect.cluster: expected cluster web, got status 410 (GET http://old.test:8080/)",
        ),
        (
            "{request: 'http://x:8080/rest', expect: {status: 200}}",
            "tests[0].expect.status: expected status 200, got cluster web (GET http://x:8080/rest)",
        ),
        (
            "{request: 'http://x:8080/', expect: {route: gone}}",
            "tests[0].expect.route: expected route gone, got no route (GET http://x:8080/)",
        ),
        (
            "{request: 'http://api.test:8080/users/7', expect: {captures: {id: '8'}}}",
            "tests[0].expect.captures.id: expected '8', got '7' (GET http://api.test:8080/users/7)",
        ),
        (
            "{request: 'http://api.test:8080/users/7', expect: {labels: {zone: a}}}",
            "tests[0].expect.labels.zone: expected 'a', got no such label (GET http://api.test:8080/users/7)",
        ),
        (
            "{request: 'http://x:9999/', expect: {status: 200}}",
            "tests[0].request: no http listener is bound to port 9999; name one of web, tls, plain, db",
        ),
        (
            "{request: {listener: db, host: x}, expect: {cluster: keyed}}",
            "tests[0].request: listener db passes bytes on and knows no requests",
        ),
    ],
)
def test_what_does_not_hold_is_said_with_its_place(test: str, said: str) -> None:
    (line,) = outcome(test)
    line_number = len(BASE.splitlines()) + 2
    assert line.startswith(f"x.yaml:{line_number}:"), line
    assert line.partition(": ")[2] == said


def test_the_place_is_that_of_the_expectation() -> None:
    (line,) = outcome("request: 'http://x:8080/rest'\n    expect:\n      route: 'web[4]'\n      cluster: api")
    assert line.startswith(f"x.yaml:{len(BASE.splitlines()) + 5}:16: tests[0].expect.cluster: ")


def test_each_expectation_is_told() -> None:
    lines = outcome("{request: 'http://x:8080/rest', expect: {route: gone, cluster: api, status: 204}}")
    assert [line.split(": ")[1].rpartition(".")[2] for line in lines] == ["route", "cluster", "status"]


def test_an_endpoint_is_expected_where_a_key_decides() -> None:
    def where(client: str, name: str) -> bool:
        return not outcome(
            f"{{request: {{listener: db, client: {client}}}, expect: {{cluster: keyed, endpoint: {name}}}}}"
        )

    clients = [f"10.9.9.{i}" for i in range(12)]
    found = ["a" if where(client, "a") else "b" for client in clients]
    assert set(found) == {"a", "b"}
    assert all(where(client, name) for client, name in zip(clients, found, strict=True))


def test_an_endpoint_is_known_by_address_too_and_whatever_its_state() -> None:
    base = BASE.replace("match: {path: /rest}, cluster: web", "match: {path: '/rest/:x'}, cluster: by_path")
    picked = [
        address
        for address in ("10.0.2.1:1", "10.0.2.2:1", "10.0.2.3:1")
        if not outcome(
            f"{{request: 'http://x:8080/rest/7', expect: {{cluster: by_path, endpoint: '{address}'}}}}",
            base=base,
        )
    ]
    assert len(picked) == 1
    expect = f"{{cluster: by_path, endpoint: '{picked[0]}'}}"
    text = base + f"tests: [{{request: 'http://x:8080/rest/7', expect: {expect}}}]\n"
    with compiled(text.replace("tls: {certificates: [{cert: none.pem, key: none.pem}]}, ", "")) as runtime:
        cluster = runtime.clusters["by_path"]
        for endpoint in cluster.endpoints:
            if endpoint.address == picked[0]:
                endpoint.set_health("down")
        cluster.refresh()
        assert failed_tests(runtime, load_text(text)) == []


def test_a_test_does_not_depend_on_how_the_cluster_is() -> None:
    text = BASE + "tests: [{request: 'http://x:8080/rest', expect: {cluster: web}}]\n"
    with compiled(text.replace("tls: {certificates: [{cert: none.pem, key: none.pem}]}, ", "")) as runtime:
        for endpoint in runtime.clusters["web"].endpoints:
            endpoint.set_admin("disabled")
        runtime.clusters["web"].refresh()
        assert failed_tests(runtime, load_text(text)) == []


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("{request: 'ftp://x/', expect: {status: 200}}", "tests[0].request: must be a URL such as"),
        ("{request: 'http://x/', expect: {}}", "tests[0].expect: give at least one of"),
        ("{request: 'http://x/', expect: {cluster: wbe}}", "unknown cluster 'wbe'; did you mean 'web'?"),
        ("{request: 'http://x/', expect: {route: usr}}", "unknown route 'usr'; did you mean 'user'?"),
        ("{request: {path: /}, expect: {status: 200}}", "give 'url' or 'listener': there are several"),
        ("{request: {url: 'http://x/', path: /}, expect: {status: 200}}", "give either 'url' or 'host'"),
        ("{request: {listener: wbe}, expect: {status: 200}}", "unknown listener 'wbe'; did you mean 'web'?"),
        (
            "{request: 'http://x/', expect: {cluster: api, endpoint: 'one.internal:1'}}",
            "only for balancers that",
        ),
        ("{request: 'http://x/', expect: {cluster: keyed, endpoint: c}}", "unknown endpoint 'c'"),
        ("{request: 'http://x/', expect: {endpoint: c}}", "needs 'cluster' beside it"),
        ("{request: {url: 'http://x/', client: home}, expect: {status: 1}}", "must be an IP address"),
    ],
)
def test_what_cannot_be_tested_is_an_error(test: str, said: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load_text(f"{BASE}tests:\n  - {test}\n", "x.yaml")
    assert said in str(caught.value)
    assert all(error.line == len(BASE.splitlines()) + 2 for error in caught.value.errors)


def test_tests_of_several_files_add_up(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BASE + "tests: [{request: 'http://x/', expect: {status: 308}}]\n")
    (tmp_path / "b.yaml").write_text("tests:\n  - {request: 'http://x/', expect: {status: 200}}\n")
    config = load(tmp_path)
    assert len(config.tests) == 2
    (line,) = failed_tests(None, config)
    assert line.startswith(f"{tmp_path / 'b.yaml'}:2:") and "tests[1].expect.status" in line
