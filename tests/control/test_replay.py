"""replay: recorded requests through two configurations, what differs, and what nobody can know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from control.worlds import config_of
from harness.lbd import ROOT

from lbd.config.dump import data_of, from_data
from lbd.config.loader import load
from lbd.control.replay import Replay
from lbd.control.replay_report import EXAMPLES, MOST_GROUPS

OLD = """
listeners:
  - name: web
    bind: ':8080'
    routes:
      - {name: beta, match: {path: /v1/*, header: {x-beta: 'yes'}}, cluster: two}
      - {name: api, match: {path: /v1/*}, cluster: one}
      - {name: up, match: {path: /up, method: POST}, cluster: one}
      - {match: {path: /files/*}, cluster: keyed}
      - {name: rest, cluster: one}
  - {name: db, bind: ':5432', protocol: tcp, cluster: hashed}
clusters:
  - {name: one, endpoints: [{address: '127.0.0.1:1', name: a}, {address: '127.0.0.1:2', name: b}]}
  - {name: two, endpoints: [{address: '127.0.0.1:3', name: c}]}
  - {name: keyed, balancer: {name: maglev, key: path},
     endpoints: [{address: '127.0.0.1:4', name: d}, {address: '127.0.0.1:5', name: e}]}
  - {name: hashed, balancer: ip_hash, endpoints: ['127.0.0.1:6', '127.0.0.1:7']}
"""
ROUTES = {"/v1/": "api", "/up": "up", "/files/": "web[3]"}


def record(path: str = "/", method: str = "GET", **more: Any) -> dict[str, Any]:
    """As OLD would have served it, without X-Beta."""
    route = next((name for begin, name in ROUTES.items() if path.startswith(begin)), "rest")
    found = {
        "id": "0-1",
        "time": "2026-11-21T20:00:00.000Z",
        "ended": 1.79e9,
        "request_id": "0" * 32,
        "client": "10.0.0.1",
        "method": method,
        "host": "x.test",
        "path": path,
        "protocol": "HTTP/1.1",
        "status": 200,
        "listener": "web",
        "route": route,
        "cluster": "keyed" if route == "web[3]" else "one",
        "endpoint": "a",
        "bytes_received": 0,
        "bytes_sent": 2,
        "duration": 0.001,
    }
    return {name: value for name, value in (found | more).items() if value is not None}


def refused(path: str, status: int, reason: str, **more: Any) -> dict[str, Any]:
    return record(path, status=status, reason=reason, cluster=None, endpoint=None, **more)


def edited(*edits: tuple[str, str], text: str = OLD) -> str:
    for before, after in edits:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def replayed(new: str, *records: Any, old: str = OLD) -> Any:
    """What is told; it is JSON."""
    with Replay(config_of(old), config_of(new)) as replay:
        for number, one in enumerate(records, 1):
            replay.take(one, number)
        return json.loads(json.dumps(replay.report.to_data()))


def the_change(new: str, one: Any, old: str = OLD) -> Any:
    """Of one record that is known to differ."""
    found = replayed(new, one, old=old)
    assert found["counts"]["changes"] == 1, found
    return found["changes"][0]


def needs(new: str, one: Any, old: str = OLD) -> list[str] | None:
    """What is missing to decide one record; None when it is the same."""
    found = replayed(new, one, old=old)
    assert not found["counts"]["changes"] and not found["counts"]["unusable"], found
    rows = found["undecided"]
    return rows[0]["needs"] if rows else None


def test_nothing_differs_between_a_configuration_and_itself() -> None:
    records = [record(path) for path in ("/", "/v1/a", "/files/1")]
    records += [record("/v1/b", route="beta", cluster="two")]
    records += [record(path, "POST", status=502, reason="connect_failed") for path in ("/up", "/v1/c")]
    records += [{"protocol": "tcp", "listener": "db", "client": "10.0.0.1", "cluster": "hashed"}]
    found = replayed(OLD, *records)
    assert found["requests"] == len(records)
    assert found["counts"] == {
        "same": len(records), "changes": 0, "undecided": 0, "deviations": 0, "unusable": 0
    }  # fmt: skip


def test_another_cluster_with_the_lines_of_both_sides_and_examples() -> None:
    new = edited(
        ("{name: api, match: {path: /v1/*}, cluster: one}", "{name: api, cluster: two, match: {path: /v1/*}}")
    )
    found = replayed(new, *(record(f"/v1/{i}", request_id=f"{i:032x}") for i in range(5)), record("/"))
    assert (found["counts"]["changes"], found["counts"]["same"]) == (5, 1)
    (row,) = found["changes"]
    assert (row["kind"], row["listener"], row["count"]) == ("cluster", "web", 5)
    assert row["old"] == {
        "kind": "cluster", "route": "api", "cluster": "one", "at": "<config>:7", "cluster_at": "<config>:13"
    }  # fmt: skip
    assert (row["new"]["cluster"], row["new"]["endpoint"]) == ("two", "c"), "there is only one"
    assert row["new"]["at"] == "<config>:7"
    assert [one["request_id"] for one in row["examples"]] == [f"{i:032x}" for i in range(EXAMPLES)]
    assert row["examples"][0]["path"] == "/v1/0"


@pytest.mark.parametrize(
    ("edit", "one", "kind", "new"),
    [
        (("{name: rest, cluster: one}", "{name: rest, cluster: one, match: {host: y.test}}"), record(),
         "refused", {"status": 404, "reason": "no_route"}),
        (("{name: rest, cluster: one}", "{name: rest, respond: {status: 403}}"), record(),
         "answer", {"kind": "respond", "status": 403, "route": "rest"}),
        (("{name: rest, cluster: one}",
          "{name: rest, respond: {status: 301, headers: {Location: 'https://y.test/'}}}"), record(),
         "answer", {"kind": "redirect", "status": 301, "location": "https://y.test/"}),
        (("method: POST}, cluster: one", "method: POST}, limits: {body: 10}, cluster: one"),
         record("/up", "POST", bytes_received=11), "refused", {"status": 413, "reason": "body_too_large"}),
        (("{name: two, endpoints", "{name: deux, endpoints"), record("/v1/x", route="beta", cluster="two"),
         "cluster", {"cluster": "deux"}),
        (("bind: ':8080'", "bind: ':8081'"), record(), "refused", {"kind": "unreachable"}),
        (("path: /up, method: POST}", "path: /up, method: PUT}"), record("/up", "POST", bytes_received=3),
         "route", {"route": "rest", "cluster": "one"}),
        (("{name: rest, cluster: one}", "{name: rest, cluster: one, endpoint_labels: {v: '2'}}"), record(),
         "refused", {"status": 503, "reason": "no_endpoint"}),
        (("{name: rest, cluster: one}", "{name: rest, cluster: two, endpoint_labels: {v: '2'}}"), record(),
         "cluster", {"cluster": "keyed", "endpoint": "e"}),
    ],
)  # fmt: skip
def test_what_becomes_of_a_request(edit: tuple[str, str], one: Any, kind: str, new: dict[str, Any]) -> None:
    edits = [edit]
    if new.get("endpoint"):  # what the route wants is nowhere but in the fallback
        edits.append(("{name: two, ", "{name: two, fallback: {cluster: keyed}, "))
        edits.append(("name: e}", "name: e, labels: {v: '2'}}"))
    if edit[0].startswith("{name: two"):
        edits.append(("header: {x-beta: 'yes'}}, cluster: two", "header: {x-beta: 'yes'}}, cluster: deux"))
    if edit[0].startswith("bind: ':8080'"):
        edits.append(("- name: web", "- name: www"))
    row = the_change(edited(*edits), one)
    assert row["kind"] == kind
    assert {name: row["new"].get(name) for name in new} == new


def test_a_request_without_a_host() -> None:
    """HTTP/1.0 has none, and HTTP/2 need not have one."""
    moved = edited(("{name: rest, cluster: one}", "{name: rest, cluster: two}"))
    row = the_change(moved, record("/", host=None, protocol="HTTP/1.0"))
    assert (row["kind"], row["new"]["cluster"]) == ("cluster", "two")


def test_a_listener_of_another_name_at_the_same_address_is_reached() -> None:
    found = replayed(edited(("- name: web", "- name: www")), record())
    assert found["counts"]["same"] == 1, found["changes"]


def test_what_was_refused_and_is_served_now() -> None:
    row = the_change(edited(("{name: rest, cluster: one}", "{name: rest, cluster: two}"), text=OLD),
                     refused("/", 404, "no_route", route="-"),
                     old=edited(("      - {name: rest, cluster: one}\n", "")))  # fmt: skip
    assert (row["kind"], row["old"]["reason"], row["new"]["cluster"]) == ("served", "no_route", "two")


def test_a_route_without_a_name_stays_the_same_at_another_place() -> None:
    first = ("    routes:\n", "    routes:\n      - {name: first, match: {path: /first}, cluster: two}\n")
    found = replayed(edited(first), record("/files/1"), record("/first"))
    assert (found["counts"]["same"], found["counts"]["changes"]) == (1, 1)
    assert found["changes"][0]["new"]["route"] == "first"


def test_a_key_decides_the_endpoint() -> None:
    new = edited(("{address: '127.0.0.1:5', name: e}", "{address: '127.0.0.1:5', name: f}"))
    found = replayed(new, *(record(f"/files/{i}") for i in range(40)))
    (row,) = found["changes"]
    assert row["kind"] == "endpoint" and row["count"] + found["counts"]["same"] == 40
    assert 5 < row["count"] < 35, "those that were with e, and no others but few"
    assert {one["new_endpoint"] for one in row["examples"]} <= {"d", "f"}
    assert "endpoint" not in row["old"] and row["old"]["cluster_at"] == "<config>:15"


def test_a_connection_is_decided_by_its_address() -> None:
    one = {
        "protocol": "tcp",
        "listener": "db",
        "client": "10.0.0.1",
        "cluster": "hashed",
        "endpoint": "127.0.0.1:6",
    }
    row = the_change(edited(("protocol: tcp, cluster: hashed", "protocol: tcp, cluster: two")), one)
    assert (row["kind"], row["new"]["cluster"]) == ("cluster", "two")
    assert row["old"]["endpoint"] in ("127.0.0.1:6", "127.0.0.1:7")


def test_where_turns_decide_the_share_is_told() -> None:
    new = edited(("{address: '127.0.0.1:1', name: a}", "{address: '127.0.0.1:1', name: a, weight: 3}"))
    row = the_change(new, record())
    assert (row["kind"], row["moved"]) == ("balance", 0.25)
    assert needs(edited(("{name: one, ", "{name: one, max_requests: 7, ")), record()) is None


def test_a_key_that_is_not_recorded_moves_a_share() -> None:
    by_cookie = ("key: path", "key: {cookie: sid}")
    old = edited(by_cookie)
    new = edited(by_cookie, ("name: e}]", "name: e}, {address: '127.0.0.1:8', name: f}]"))
    row = the_change(new, record("/files/1"), old=old)
    assert row["kind"] == "balance" and 0.28 < row["moved"] < 0.4
    by_another = edited(("key: path", "key: {cookie: other}"))
    assert the_change(by_another, record("/files/1"), old=old)["moved"] == 1.0, "all of them, by other values"
    assert "endpoint" not in row["old"]


def test_the_route_that_was_taken_tells_what_is_not_recorded() -> None:
    """X-Beta is not recorded, but who took `beta` had it, and who took `api` had not."""
    new = edited(("header: {x-beta: 'yes'}}, cluster: two", "header: {x-beta: 'yes'}}, cluster: keyed"))
    had, had_not = record("/v1/a", route="beta", cluster="two"), record("/v1/a")
    found = replayed(new, had, had_not)
    assert (found["counts"]["same"], found["counts"]["changes"], found["counts"]["undecided"]) == (1, 1, 0)
    assert (found["changes"][0]["old"]["cluster"], found["changes"][0]["new"]["cluster"]) == ("two", "keyed")


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("header: {x-foo: a*}", "header x-foo"),
        ("header: {x-foo: false}", "header x-foo"),
        ("cookie: {c: '1'}", "cookie c"),
        ("query: {q: '1'}", "query q"),
        ("client_certificate: {subject: 'CN=a'}", "the client's certificate"),
    ],
)
def test_what_hangs_on_something_that_is_not_recorded_is_not_decided(condition: str, name: str) -> None:
    new = edited(
        ("    routes:\n", f"    routes:\n      - {{name: new, match: {{{condition}}}, cluster: two}}\n")
    )
    found = replayed(new, record("/"))
    (row,) = found["undecided"]
    assert row["needs"] == [name] and not found["changes"]
    assert [one["route"] for one in row["new"]] in (["rest", "new"], ["new", "rest"])
    assert [one["route"] for one in row["old"]] == ["rest"]
    # where it makes no difference it is none: the same condition is on both sides, and leads to the same
    assert needs(new, record("/", route="new", cluster="two"), old=new) is None


def test_a_condition_that_is_known_not_to_hold_leaves_nothing_open() -> None:
    beside = "match: {method: DELETE, source: 192.168.0.0/16, header: {x-foo: a}}"
    new = edited(("    routes:\n", f"    routes:\n      - {{name: new, {beside}, cluster: two}}\n"))
    assert needs(new, record("/")) is None
    assert needs(new, record("/", "DELETE", client="10.1.1.1")) is None
    assert needs(new, record("/", "DELETE", client="192.168.1.1")) == ["header x-foo"]
    two = "      - {name: other, match: {cookie: {c: '1'}}, cluster: two}\n"
    both = edited(("      - {name: new", f"{two}      - {{name: new"), text=new)
    assert needs(both, record("/")) == ["cookie c"], "x-foo is of no account where the method does not fit"


def test_whatever_it_is_it_goes_to_another_cluster() -> None:
    """Which of two routes is open, and where both lead is not."""
    new = edited(
        ("    routes:\n", "    routes:\n      - {name: new, match: {cookie: {c: '1'}}, cluster: two}\n"),
        ("{name: rest, cluster: one}", "{name: rest, cluster: two}"),
    )
    row = the_change(new, record("/"))
    assert row["kind"] == "cluster" and set(row["new"]["route"].split(" or ")) == {"new", "rest"}


def test_presence_is_the_contrary_of_absence() -> None:
    """One of two routes is taken by everybody: one with the field, and one without it."""
    pair = (
        "      - {name: with, match: {header: {x-foo: true}}, cluster: two}\n"
        "      - {name: without, match: {header: {x-foo: false}}, cluster: two}\n"
    )
    new = edited(("    routes:\n", f"    routes:\n{pair}"))
    assert the_change(new, record("/"))["new"]["route"] == "without or with", "and never `rest`"


def test_a_field_that_had_a_value_was_not_absent() -> None:
    """Who took the route for `a` is not one of those without the field."""
    start = "    routes:\n"
    old = edited((start, f"{start}      - {{name: with, match: {{header: {{x-foo: a}}}}, cluster: two}}\n"))
    new = edited(
        (start, f"{start}      - {{name: without, match: {{header: {{x-foo: false}}}}, cluster: two}}\n")
    )
    row = the_change(new, record("/", route="with", cluster="two"), old=old)
    assert (row["kind"], row["new"]["route"], row["new"]["cluster"]) == ("cluster", "rest", "one")


def test_many_open_conditions_are_told_and_not_counted_through() -> None:
    routes = "".join(
        f"      - {{name: r{i}, match: {{header: {{x-{i}: a}}}}, cluster: two}}\n" for i in range(40)
    )
    assert needs(edited(("    routes:\n", f"    routes:\n{routes}")), record("/")) == [
        f"header x-{i}" for i in range(40)
    ]


def test_a_query_is_known_where_it_is_recorded() -> None:
    route = "    routes:\n      - {name: q, match: {query: {q: '1'}}, cluster: two}\n"
    new = edited(("    routes:\n", route))
    assert the_change(new, record("/?q=1"))["new"]["route"] == "q"
    assert needs(new, record("/?q=2")) is None
    assert needs(new, record("/")) == ["query q"]
    old = OLD + "recorder: {query: true}\n"
    assert needs(new, record("/"), old=old) is None, "it had none"
    long = "/?a=" + "b" * 188
    assert len(long) == 192 and needs(new, record(long), old=old.replace("true", "false")) == ["query q"]
    found = replayed(new, record("/?q=1&token=swordfish"))
    assert "swordfish" not in json.dumps(found)


def test_the_length_of_a_body() -> None:
    large = ("{path: /up, method: POST}, cluster: one}", "{path: /up, body_size: '> 100'}, cluster: two}")
    limited = ("method: POST}, cluster: one", "method: POST}, limits: {body: 100}, cluster: one")
    assert needs(edited(limited), record("/up", "POST", bytes_received=100)) is None
    cut_off = record("/up", "POST", bytes_received=50, status=499, reason="client_gone")
    assert needs(edited(limited), cut_off) == ["the length of the body"]
    assert needs(OLD, cut_off) is None, "the limit is the same on both sides"
    assert the_change(edited(limited), cut_off | {"bytes_received": 101})["kind"] == "refused"
    assert the_change(edited(large), record("/up", "POST", bytes_received=100))["new"]["route"] == "rest"
    # 200 bytes came, announced or not: only then the length counts
    assert needs(edited(large), record("/up", "POST", bytes_received=200)) == ["the length of the body"]
    too_large = refused("/up", 413, "body_too_large")
    assert needs(edited(limited), too_large, old=edited(limited)) is None


def test_clients_behind_other_proxies_are_not_known() -> None:
    inner = "match: {source: 10.0.0.0/8}, cluster: two}"
    new = edited(("    routes:\n", f"    routes:\n      - {{name: inner, {inner}\n"))
    assert the_change(new, record("/"))["new"]["route"] == "inner"
    trusting = new.replace("bind: ':8080'", "bind: ':8080'\n    trusted_proxies: [172.16.0.0/12]")
    (missing,) = needs(trusting, record("/")) or [""]
    assert missing.startswith("the address of the client")


@pytest.mark.parametrize(
    ("one", "missing"),
    [
        (record("/" + "p" * 191), "the path beyond 192 bytes"),
        (record("/", host="h" * 64), "the host beyond 64 bytes"),
        (record("/", "M" * 16), "the method beyond 16 bytes"),
        ({"protocol": "HTTP/1.1", "listener": "web", "status": 400, "reason": "bad_request", "route": "-"},
         "the request, which could not be read (bad_request)"),
        (refused("/", 421, "misdirected", route="-"), "why it was refused: misdirected"),
        (record(listener="gone"), "listener gone, which the old configuration does not have"),
        ({"protocol": "tcp", "listener": "web"},
         "the request: it was a connection of TCP, and HTTP is spoken"),
    ],
)  # fmt: skip
def test_what_is_missing_of_a_request(one: Any, missing: str) -> None:
    assert needs(OLD, one) == [missing]


def test_what_discovery_finds_is_not_known_and_the_cluster_counts() -> None:
    found_by_name = "{name: one, discover: {dns: 'a.test:80'}, fallback: {respond: {status: 404}}}"
    start = OLD.index("{name: one, endpoints")
    text = OLD[:start] + found_by_name + OLD[OLD.index("\n", start) :]
    assert needs(text, record("/"), old=text) is None
    assert needs(text, record("/")) is None


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (record("/", route="gone"), "another configuration"),
        (record("/", cluster="two"), "a fallback, or another configuration"),
        (refused("/", 503, "no_endpoint"), "the state of things: no_endpoint"),
        (record("/", cluster=None, endpoint=None, status=404), "a fallback, or another configuration"),
    ],
)
def test_what_was_recorded_otherwise_is_told(one: Any, why: str) -> None:
    found = replayed(OLD, one)
    (row,) = found["deviations"]
    assert row["why"] == why and row["old"]["route"] == "rest"
    assert found["counts"]["same"] == 1, "which is another question than what the new configuration changes"


def test_a_failed_attempt_is_no_other_decision() -> None:
    found = replayed(
        OLD, refused("/", 502, "connect_failed"), record("/", status=502, reason="connect_failed")
    )
    assert found["deviations"] == []


@pytest.mark.parametrize(
    ("one", "why"),
    [
        ([], "must be an object"),
        ("text", "must be an object"),
        ({"id": "0-1"}, "it is no record of the flight recorder"),
        (record() | {"path": 7}, "path must be text, not 7"),
        (record(listener=["web"]), "listener must be text"),
        (record(client="nobody"), "must be an IP address"),
        (record(method="G T"), "G T"),
        (record(path="/ HTTP/1.1\r\nX-A: b"), "printable ASCII only"),
        (record(host="a\r\nX-A: b"), ""),
        (record(ended="now"), "ended must be Unix time"),
        (record(ended=float("nan")), "ended must be Unix time"),
        (record(status=True), "status must be a whole number"),
        (record(bytes_received=-1), "bytes_received must be a whole number"),
        (record("/" + "x" * 5000), "path is longer than 4096 characters"),
    ],
)
def test_hostile_records_are_counted_with_their_line(one: Any, why: str) -> None:
    found = replayed(OLD, record(), one)
    assert (found["requests"], found["counts"]["unusable"]) == (1, 1)
    (row,) = found["unusable"]
    assert why in row["why"] and row["lines"] == [2]
    assert len(row["why"]) < 300


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_compared_with_itself_as_a_running_lbd_tells_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets are masked, certificates are not read, names are not resolved."""
    monkeypatch.chdir(ROOT)
    config = load(path)
    with Replay(from_data(data_of(config)), config) as replay:
        for listener in config.listeners:
            protocol = "tcp" if listener.protocol == "tcp" else "HTTP/1.1"
            replay.take(
                record("/v1/x", listener=listener.name, protocol=protocol, route="-", reason="no_route")
            )
        found = replay.report.to_data()
    assert found["requests"] == len(config.listeners) and not found["unusable"]
    assert not found["changes"], found["changes"]


def test_memory_is_bounded() -> None:
    found = replayed(OLD, *({"protocol": f"p{i}", "listener": i} for i in range(MOST_GROUPS + 50)))
    assert found["counts"]["unusable"] == MOST_GROUPS + 50
    assert len(found["unusable"]) == MOST_GROUPS and found["left_out"] == {"unusable": 50}
