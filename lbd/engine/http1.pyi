from typing import NamedTuple

class ProtocolError(ValueError):
    status: int
    reason: str

class RequestInfo(NamedTuple):
    method: bytes
    target: bytes
    path: bytes
    query: bytes | None
    authority: bytes
    version: tuple[int, int]
    fields: list[tuple[bytes, bytes]]
    consumed: int
    framing: str
    content_length: int
    keep_alive: bool
    expect_continue: bool
    upgrade: bytes | None

class ResponseInfo(NamedTuple):
    status: int
    reason: bytes
    version: tuple[int, int]
    fields: list[tuple[bytes, bytes]]
    consumed: int
    framing: str
    content_length: int
    keep_alive: bool

def inspect_request(
    data: bytes, *, request_line: int = 8192, head: int = 32768, fields: int = 100, underscore: str = "drop"
) -> RequestInfo | None: ...
def inspect_response(data: bytes, method: bytes = b"GET") -> ResponseInfo | None: ...
