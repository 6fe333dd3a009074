"""Config tests: requests under `tests`, decided by the functions that serve traffic, as they expect or not.

The outcome does not depend on how things are at the moment: a test looks at the route and where that leads,
whether the cluster is well or not, and at an endpoint as if all were well. So a reload is never refused for a
server that is down.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from lbd.config import schema
from lbd.config.errors import ConfigError, ConfigErrors
from lbd.config.expectations import ConfigTest
from lbd.config.messages import Location
from lbd.config.units import BadValue
from lbd.control.asked import Asked, choose_listener
from lbd.control.compile import Runtime
from lbd.control.dry_run import dry_run
from lbd.engine.cluster import Cluster
from lbd.engine.rehearsal import Rehearsal

# refusals for how things are at the moment: they say nothing about the configuration
OF_THE_MOMENT = frozenset({"no_endpoint", "overflow", "overload", "breaker_open", "too_many_tunnels"})


def raise_failed(config: schema.Config) -> None:
    """ConfigErrors when the configuration does not pass its own tests."""
    if config.tests and (errors := _errors(None, config)):
        raise ConfigErrors(errors)


def failed_tests(runtime: Runtime | None, config: schema.Config) -> list[str]:
    """One line per expectation that does not hold, like the errors of a configuration, sorted by place.

    `runtime`: compiled from `config`; None: one is compiled here for the purpose."""
    return [str(error) for error in sorted(_errors(runtime, config))] if config.tests else []


def _errors(runtime: Runtime | None, config: schema.Config) -> list[ConfigError]:
    with ExitStack() as stack:
        runs = _Runs(config, runtime, stack)
        return [
            error
            for index, test in enumerate(config.tests)
            for error in _failures(("tests", index), test, config, runs)
        ]


class _Runs:
    """What the tests run on, made when it is needed."""

    def __init__(self, config: schema.Config, runtime: Runtime | None, stack: ExitStack) -> None:
        self.config = config
        self.runtime = runtime
        self.stack = stack
        self._dry: Runtime | None = None
        self._ideal: dict[str, Cluster] | None = None

    @property
    def dry(self) -> Runtime:
        if self._dry is None:
            self._dry = self.stack.enter_context(dry_run(self.config))
        return self._dry

    @property
    def ideal(self) -> dict[str, Cluster]:
        """Fresh clusters, all of whose endpoints are well: those of which a test expects an endpoint."""
        if self._ideal is None:
            self._ideal = self.stack.enter_context(dry_run(_with_endpoints_expected(self.config))).clusters
        return self._ideal

    def rehearse(self, listener: schema.Listener, head: bytes | None, client: str, secure: bool) -> Rehearsal:
        """On what is there; when that refuses for how it is at the moment, as if all were well."""
        if self.runtime is not None:
            outcome = Rehearsal(self.runtime.listeners[listener.name], head, client, secure=secure)
            if outcome.reason not in OF_THE_MOMENT:
                return outcome
        return Rehearsal(self.dry.listeners[listener.name], head, client, secure=secure)


def _with_endpoints_expected(config: schema.Config) -> schema.Config:
    """What is needed to know who would serve: clusters of which a test expects an endpoint."""
    wanted = {test.expect.cluster for test in config.tests if test.expect.endpoint is not None}
    clusters = tuple(
        one.model_copy(update={"fallback": None}) for one in config.clusters if one.name in wanted
    )
    return config.model_copy(update={"listeners": (), "clusters": clusters, "tests": ()})


def _failures(at: Location, test: ConfigTest, config: schema.Config, runs: _Runs) -> Iterator[ConfigError]:
    asked = Asked.of(test.request)
    try:
        listener, _ = choose_listener(asked, config)
        if listener.protocol == "tcp" and asked.is_http:
            raise BadValue(f"listener {listener.name} passes bytes on and knows no requests")
        secure = asked.is_secure if asked.is_secure is not None else listener.tls is not None
        head = asked.head() if listener.protocol == "http" else None
        outcome = runs.rehearse(listener, head, asked.client, secure)
    except ValueError as error:
        yield config.places.error((*at, "request"), str(error))
        return
    for key, wanted, got in _compare(test, outcome, runs):
        if wanted != got:
            message = f"expected {wanted}, got {got} ({asked_line(asked)})"
            yield config.places.error((*at, "expect", *key), message)


def _compare(test: ConfigTest, outcome: Rehearsal, runs: _Runs) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """(setting, what is expected, what comes of it), each as words that are the same when they agree."""
    expect, route = test.expect, outcome.route
    if expect.route is not None:
        yield ("route",), "no route" if expect.route == "none" else f"route {expect.route}", _route(outcome)
    if expect.cluster is not None:
        yield ("cluster",), f"cluster {expect.cluster}", _target(outcome)
    if expect.status is not None:
        yield ("status",), f"status {expect.status}", _target(outcome).partition(" (")[0]
    for name, value in expect.captures.items():
        captured = outcome.captures.get(name)
        got = repr(captured.decode("latin-1")) if captured is not None else "no such capture"
        yield ("captures", name), repr(value), got
    labels = route.labels if route is not None else {}
    for name, value in expect.labels.items():
        yield ("labels", name), repr(value), repr(labels[name]) if name in labels else "no such label"
    if expect.endpoint is not None:
        yield ("endpoint",), f"endpoint {expect.endpoint}", _endpoint(expect.endpoint, outcome, runs.ideal)


def _route(outcome: Rehearsal) -> str:
    if outcome.route is not None:
        return f"route {outcome.route.name}"
    return "no route" if outcome.reason in ("", "no_route") else _target(outcome)


def _target(outcome: Rehearsal) -> str:
    """Where it leads, whatever the state of things there."""
    cluster = _cluster(outcome)
    if cluster is None or (outcome.reason and outcome.reason not in OF_THE_MOMENT):
        return f"status {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else "")
    return f"cluster {cluster.name}"


def _cluster(outcome: Rehearsal) -> Cluster | None:
    return outcome.route.cluster if outcome.route is not None else outcome.listener.cluster


def _endpoint(wanted: str, outcome: Rehearsal, ideal: dict[str, Cluster]) -> str:
    target, cluster = _target(outcome), _cluster(outcome)
    if cluster is None or target != f"cluster {cluster.name}" or cluster.name not in ideal:
        return target
    labels = outcome.route.labels if outcome.route is not None else {}
    endpoint = outcome.pick_from(ideal[cluster.name], labels)
    if endpoint is None:
        return "none that can serve it"
    return f"endpoint {wanted if wanted == endpoint.address else endpoint.name}"


def asked_line(asked: Asked) -> str:
    """The request in short, for messages."""
    if not asked.is_http and asked.listener is not None:
        return f"a connection to {asked.listener}"
    where = asked.url or f"{asked.host or ''}{asked.target}"
    return f"{asked.method} {where if len(where) <= 80 else where[:79] + '…'}"
