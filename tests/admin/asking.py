"""Requests to the admin API of an lbd process, as bytes, so that hostile ones can be written too."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from harness.client import Response
from harness.lbd import Lbd
from harness.messages import head

JSON = "Content-Type: application/json"


def endpoint_path(cluster: str, endpoint: object) -> str:
    return f"/api/clusters/{cluster}/endpoints/{quote(str(endpoint), safe='')}"


def request(
    method: str, path: str, *fields: str, body: bytes = b"", host: str = "127.0.0.1", close: bool = True
) -> bytes:
    more = [f"Content-Length: {len(body)}"] if body else []
    more += ["Connection: close"] if close else []
    return head(f"{method} {path} HTTP/1.1", f"Host: {host}", *more, *fields) + body


def ask(
    lbd: Lbd, method: str, path: str, *fields: str, body: bytes = b"", host: str = "127.0.0.1"
) -> Response:
    return lbd.ask(request(method, path, *fields, body=body, host=host), "admin")


def look(lbd: Lbd, path: str) -> Any:
    response = ask(lbd, "GET", path)
    assert response.status == 200, response
    return response.json()


def endpoint(lbd: Lbd, cluster: str, name: object) -> Any:
    return look(lbd, endpoint_path(cluster, name))


def patch(lbd: Lbd, cluster: str, name: object, *fields: str, **change: Any) -> Response:
    return ask(lbd, "PATCH", endpoint_path(cluster, name), JSON, *fields, body=json.dumps(change).encode())


def change(lbd: Lbd, cluster: str, name: object, **change: Any) -> Any:
    """The endpoint after it."""
    response = patch(lbd, cluster, name, **change)
    assert response.status == 200, response
    return response.json()["endpoint"]
