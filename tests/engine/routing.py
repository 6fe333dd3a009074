"""Routers from route settings, asked by heads: no socket, no cluster."""

from __future__ import annotations

from typing import Any

from harness.messages import head

from lbd.config import schema
from lbd.control.listeners import build_router
from lbd.engine.router import Router

ANSWER = {"status": 204}


def router_of(*routes: dict[str, Any]) -> Router:
    """Routes as the config has them, each answered by lbd; without a name called after its index."""
    named = [{"name": f"r{index}", "respond": ANSWER, **route} for index, route in enumerate(routes)]
    return build_router(schema.Listener(name="web", bind="127.0.0.1:0", routes=named), {})


def request(target: str = "/", *fields: str, method: str = "GET", host: str = "a.test") -> bytes:
    return head(f"{method} {target} HTTP/1.1", f"Host: {host}", *fields)


def route_of(router: Router, raw_head: bytes, client: str = "127.0.0.1") -> str | None:
    found: str | None = router.explain(raw_head, client)["route"]
    return found


def matches(match: dict[str, Any], raw_head: bytes, client: str = "127.0.0.1") -> bool:
    """Does a route with these conditions take the request?"""
    return route_of(router_of({"match": match}), raw_head, client) == "r0"
