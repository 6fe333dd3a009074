"""A reload runs the tests of the new configuration first, and is refused when one fails."""

from __future__ import annotations

import re

from reload.changing import Changing, body

PLAIN = """
listeners:
  - {name: web, bind: "127.0.0.1:0", routes: [{name: here, respond: {body: "<text>"}}]}
tests:
  - {name: home, request: {path: /, host: a.test}, expect: {route: <route>}}
"""


def test_a_configuration_that_fails_its_own_tests_is_refused() -> None:
    with Changing(PLAIN, text="one", route="here") as lbd, lbd.connect() as client:
        assert body(client) == b"one"
        why = lbd.refused(PLAIN, text="two", route="none")
        assert "tests.home.expect.route: expected no route, got route here (GET a.test/)" in why
        assert re.match(rf"{lbd.directory}/lbd.yaml:\d+:\d+: tests.home", why)
        assert body(client) == b"one"
        lbd.reload(PLAIN, text="two", route="here")
        assert body(client) == b"two"
