"""diff: what a new configuration changes of an old one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbd.config.diff import Changes, RouteChange, SettingChange, _moved, diff
from lbd.config.dump import data_of, from_data
from lbd.config.loader import load, load_text
from lbd.config.schema import Config

CONF = Path(__file__).parents[2] / "conf"
BASE = """
admin: {token: swordfish-swordfish}
listeners:
  - name: web
    bind: [':8080', ':8081']
    routes:
      - {name: api, match: {path: /v1/*}, cluster: api}
      - {match: {host: a.example}, cluster: api}
      - {match: {host: b.example}, respond: {status: 404}}
      - {cluster: web}
  - {name: db, bind: ':5432', protocol: tcp, cluster: web}
clusters:
  - {name: api, endpoints: ['10.0.0.1:1', {address: '10.0.0.2:1', name: two, weight: 3}]}
  - {name: web, endpoints: ['10.0.1.1:1'],
     health_check: {headers: {Authorization: Bearer swordfish, Accept: text/plain}}}
"""


def changed(*edits: tuple[str, str], base: str = BASE) -> Changes:
    text = base
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    return diff(load_text(base), load_text(text))


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.name)
def test_nothing_differs_from_itself_or_its_dump(file: Path) -> None:
    config = load(file, env={})
    assert not diff(config, config)
    assert not diff(from_data(data_of(config)), config)
    assert diff(config, config) == Changes()


def test_top_level_settings() -> None:
    found = changed(("admin: {", "drain_timeout: 5s\nadmin: {bind: '127.0.0.1:1', "))
    assert found.settings == (
        SettingChange("admin.bind", "127.0.0.1:9900", "127.0.0.1:1"),
        SettingChange("drain_timeout", "30s", "5s"),
    )
    assert found and not found.listeners and not found.clusters


def test_what_appears_as_a_whole_is_one_setting() -> None:
    (change,) = changed(("name: api, endpoints", "name: api, breaker: {}, endpoints")).clusters
    (setting,) = change.settings
    assert setting.path == "breaker" and setting.old is None and setting.new["probes"] == 3


def test_a_secret_that_changes_is_said_and_not_shown() -> None:
    found = changed(("swordfish-swordfish", "codfish-codfish-codfish"))
    (setting,) = found.settings
    assert setting.path == "admin.token" and setting.is_secret and "fish" not in repr(setting)
    (cluster,) = changed(("Bearer swordfish", "Bearer codfish")).clusters
    assert cluster.settings[0].path == "health_check.headers" and "fish" not in repr(cluster.settings)


def test_a_masked_secret_is_unknown_and_so_unchanged() -> None:
    old = from_data(data_of(load_text(BASE)))
    assert not diff(old, load_text(BASE.replace("swordfish-swordfish", "codfish-codfish-codfish")))
    assert not diff(old, load_text(BASE.replace("Bearer swordfish", "Bearer codfish")))
    assert diff(old, load_text(BASE.replace("text/plain", "text/html")))


def test_listeners_by_name() -> None:
    found = changed(("name: db, bind", "name: pg, bind"))
    assert [(one.name, one.kind, one.bound, one.unbound) for one in found.listeners] == [
        ("pg", "added", (":5432",), ()),
        ("db", "removed", (), (":5432",)),
    ]


def test_a_listener_that_binds_elsewhere() -> None:
    (found,) = changed(("[':8080', ':8081']", "[':8081', ':8082']")).listeners
    assert (found.kind, found.bound, found.unbound) == ("changed", (":8082",), (":8080",))
    assert [setting.path for setting in found.settings] == ["bind"]


def routes_of(*edits: tuple[str, str]) -> tuple[RouteChange, ...]:
    (listener,) = changed(*edits).listeners
    assert not listener.settings
    return listener.routes


def test_a_named_route_leads_elsewhere() -> None:
    (route,) = routes_of(("path: /v1/*}, cluster: api", "path: /v1/*}, cluster: web"))
    assert (route.name, route.kind, route.targets, route.moved) == ("api", "changed", ("api", "web"), False)


def test_an_unnamed_route_is_known_by_its_conditions() -> None:
    (route,) = routes_of(("      - {match: {host: a.example}, cluster: api}\n", ""))
    assert (route.name, route.kind, route.old_index) == ("web[1]", "removed", 1)
    (route,) = routes_of(
        ("      - {name: api", "      - {match: {host: c.example}, cluster: web}\n      - {name: api")
    )
    assert (route.name, route.kind, route.new_index) == ("web[0]", "added", 0)


def test_an_unnamed_route_with_other_conditions_is_known_by_its_place() -> None:
    (route,) = routes_of(("host: b.example", "host: c.example"))
    assert (route.name, route.kind, route.targets) == ("web[2]", "changed", ("respond 404",) * 2)
    assert route.settings == (SettingChange("match.host", ["b.example"], ["c.example"]),)


def test_a_route_that_gets_a_name_is_the_same() -> None:
    (route,) = routes_of(("{match: {host: a.example}", "{name: a, match: {host: a.example}"))
    assert route.kind == "changed" and route.settings == (SettingChange("name", None, "a"),)


def test_a_route_that_moves() -> None:
    last = "      - {cluster: web}\n"
    (route,) = routes_of((last, ""), ("      - {name: api", f"{last}      - {{name: api"))
    assert (route.name, route.kind, route.moved, route.old_index) == ("web[0]", "changed", True, 3)
    assert route.settings == ()


def test_endpoints_by_name_or_address() -> None:
    (cluster,) = changed(("'10.0.0.1:1'", "'10.0.0.3:1'"), ("weight: 3", "weight: 0")).clusters
    assert [(one.name, one.kind) for one in cluster.endpoints] == [
        ("10.0.0.3:1", "added"),
        ("two", "changed"),
        ("10.0.0.1:1", "removed"),
    ]
    assert cluster.endpoints[1].settings == (SettingChange("weight", 3, 0),)
    assert not cluster.settings


def test_a_named_endpoint_that_gets_another_address_is_the_same() -> None:
    (cluster,) = changed(("10.0.0.2:1", "10.0.0.9:1")).clusters
    assert [(one.name, one.kind) for one in cluster.endpoints] == [("two", "changed")]


def test_balancers_differ_by_options_too() -> None:
    base = BASE.replace("name: api, endpoints", "name: api, balancer: ring_hash, endpoints")
    (cluster,) = changed(
        ("balancer: ring_hash", "balancer: {name: ring_hash, virtual_nodes: 7}"), base=base
    ).clusters
    (setting,) = cluster.settings
    assert setting.path == "balancer" and setting.new["virtual_nodes"] == 7


def test_counts() -> None:
    found = changed(("'10.0.0.1:1'", "'10.0.0.3:1'"), ("name: db", "name: pg"), ("/v1/*", "/v2/*"))
    counts = found.counts()
    assert counts["endpoints"] == {"added": 1, "removed": 1, "changed": 0}
    assert counts["listeners"] == {"added": 1, "removed": 1, "changed": 1}
    assert counts["routes"] == {"added": 0, "removed": 0, "changed": 1}
    assert counts["clusters"] == {"added": 0, "removed": 0, "changed": 1}


@given(st.permutations(range(8)))
def test_moving_what_is_said_to_have_moved_restores_the_order(order: list[int]) -> None:
    moved = _moved(order)
    stays = [index for index in order if index not in moved]
    assert stays == sorted(stays)
    # as few as can be: no subset of the order that is one longer is sorted
    longest = [1] * len(order)
    for i, one in enumerate(order):
        longest[i] = max((longest[j] + 1 for j in range(i) if order[j] < one), default=1)
    assert len(stays) == max(longest)


@given(st.permutations(range(5)), st.sets(st.integers(0, 4)))
def test_any_shuffle_of_named_routes_is_changes_and_moves_alone(order: list[int], gone: set[int]) -> None:
    def config(indexes: list[int]) -> Config:
        routes = [{"name": f"r{i}", "match": {"path": f"/{i}"}, "respond": {}} for i in indexes]
        return Config.model_validate({"listeners": [{"name": "w", "bind": ":1", "routes": routes + [LAST]}]})

    kept = [i for i in order if i not in gone]
    found = diff(config(list(range(5))), config(kept))
    routes = found.listeners[0].routes if found.listeners else ()
    assert {route.name for route in routes if route.kind == "removed"} == {f"r{i}" for i in gone}
    assert all(route.moved and not route.settings for route in routes if route.kind == "changed")
    assert not [route for route in routes if route.kind == "added"]


LAST = {"name": "last", "respond": {}}
