"""Row 17: a path that gets round a route. RFC 3986 6.2.2; CVE-2023-45539.

/admin/* is answered 403 by lbd itself. A request that an endpoint could read as /admin/... is denied or
refused; every other one reaches the endpoint in exactly the form that was matched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get

CONFIG = """
listeners:
  - {name: web, bind: "127.0.0.1:0", path: normalize, routes: ROUTES}
  - {name: strict, bind: "127.0.0.1:0", path: reject, routes: ROUTES}
  - {name: literal, bind: "127.0.0.1:0", path: as_is, routes: ROUTES}
clusters: [{name: app, endpoints: [<origin>]}]
""".replace("ROUTES", "[{match: {path: /admin/*}, respond: {status: 403, body: denied}}, {cluster: app}]")

DENIED = (  # RFC 3986 6.2.2 makes /admin... of them
    "/admin", "/admin/", "/admin/x", "/admin?x", "/./admin/x", "/x/../admin/x",
    "/x/./../admin/x", "/x/y/../../admin", "/%61dmin/x", "/%61%64%6d%69%6e/x", "/%41/../admin",
    "/x/%2e%2e/admin/x",
    "/x/%2E%2e/admin/x", "/x/.%2e/admin", "/%2e/admin/x",
    "http://example.test/x/../admin/y",
)
REFUSED = (  # no normal form, or not allowed in a target at all
    "/%00", "/x%00/../admin", "/admin%00", "/x#", "/x#/../admin", "/#/admin", "/x?a#b", "/%", "/%4", "/%zz",
    "/%u0061dmin",
    "/x\x01", "/x\x7f", "/\x00admin",
    "/..", "/../admin", "/../../admin/x", "/x/..//../admin",  # above the root: refused, as nginx does
)
EXACT = (  # other readings exist: denied, refused, or forwarded exactly as matched
    "//admin/x", "///admin", "/x//../admin", "/x/..%2fadmin", "/x%2f..%2fadmin", "/%2fadmin/x", "/admin%2fx",
    "/%5cadmin",
    "/x/..%5cadmin", "/x\\..\\admin", "/\\admin", "/admin;x/y", "/admin;/x", "/x/..;/admin", "/x;/../admin",
    "/%2561dmin",
    "/x/%252e%252e/admin", "/ADMIN/x", "/Admin", "/admin.", "/admin%20", "/%20admin", "/x/...//admin",
    "/%c0%ae%c0%ae/admin",
    "/%ef%bc%8fadmin", "/admi%6e%3b/x", "/x/%2e%2e%2fadmin", "/x%3f/../../admin", "/admin%23", "/adminx",
    "/x/admin",
)
PLAIN = {  # what is asked -> the normal form that the endpoint sees
    "/a": "/a", "/a/./b": "/a/b", "/a/../b": "/b", "/a/b/..": "/a/", "/a/.": "/a/", "/%61": "/a",
    "/%7Ea": "/~a",
    "/a%2fb": "/a%2Fb", "/a%20b": "/a%20b", "/a?x=/../y": "/a?x=/../y", "/a?%61=%2f": "/a?%61=%2f",
    "/a/?": "/a/?", "/": "/",
    "/.": "/", "/a/b/../../c": "/c",
}


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


@pytest.fixture(scope="module")
def lbd(origin: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


def seen_at_endpoint(lbd: Lbd, origin: EchoOrigin, target: str, listener: str = "web") -> tuple[int,
                                                                                                str | None]:
    before = len(origin.requests)
    status = lbd.ask(get(target, "Connection: close"), listener).status
    targets = origin.targets()[before:]
    assert len(targets) == (status == 200)
    return status, targets[0] if targets else None


@pytest.mark.parametrize("target", DENIED)
def test_denied(lbd: Lbd, origin: EchoOrigin, target: str) -> None:
    assert seen_at_endpoint(lbd, origin, target) == (403, None)


@pytest.mark.parametrize("target", REFUSED)
@pytest.mark.parametrize("listener", ["web", "strict"])
def test_refused(lbd: Lbd, origin: EchoOrigin, target: str, listener: str) -> None:
    assert seen_at_endpoint(lbd, origin, target, listener) == (400, None)


@pytest.mark.parametrize("target", EXACT)
@pytest.mark.parametrize("listener", ["web", "strict", "literal"])
def test_not_forwarded_in_another_form(lbd: Lbd, origin: EchoOrigin, target: str, listener: str) -> None:
    status, seen = seen_at_endpoint(lbd, origin, target, listener)
    assert status in (200, 400, 403)
    if status == 200 and listener != "web":
        assert seen == target
    if status == 200:  # not what the deny rule names, and asking for it again changes nothing
        assert seen is not None and not (seen == "/admin" or seen.startswith("/admin/"))
        assert seen_at_endpoint(lbd, origin, seen, listener) == (200, seen)


@pytest.mark.parametrize("target", PLAIN)
def test_normal_form(lbd: Lbd, origin: EchoOrigin, target: str) -> None:
    status, seen = seen_at_endpoint(lbd, origin, target)
    assert status == 200
    assert seen is not None and seen.replace("%2f", "%2F") == PLAIN[target].replace("%2f", "%2F")


@pytest.mark.parametrize("target",
                         [target for target, normal in PLAIN.items() if target.split("?")[0] in normal])
def test_strict_listener_serves_normal_paths(lbd: Lbd, origin: EchoOrigin, target: str) -> None:
    if target != "/a%2fb":  # lower-case hex is not in normal form; RFC 3986 6.2.2.1 lets it be refused
        assert seen_at_endpoint(lbd, origin, target, "strict") == (200, target)


@pytest.mark.parametrize("target", ["/a/./b", "/a/../b", "/..", "/x/%2e%2e/y", "/%61"])
def test_strict_listener_refuses_the_rest(lbd: Lbd, origin: EchoOrigin, target: str) -> None:
    assert seen_at_endpoint(lbd, origin, target, "strict") == (400, None)


@pytest.mark.parametrize("target", ["/a/./b", "/a/../b", "/%61", "/x/../admin"])
def test_literal_listener_matches_and_forwards_as_received(lbd: Lbd, origin: EchoOrigin, target: str) -> None:
    assert seen_at_endpoint(lbd, origin, target, "literal") == (200, target)
