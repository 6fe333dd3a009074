"""Builders of raw HTTP/1 bytes, so that a test shows only what matters to it."""

from __future__ import annotations


def head(*lines: str) -> bytes:
    """Lines joined by CR LF and closed by an empty one; latin-1, so that any byte can be written."""
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def get(target: str = "/", *fields: str) -> bytes:
    return head(f"GET {target} HTTP/1.1", "Host: example.test", *fields)


def post(target: str, body: bytes, *fields: str) -> bytes:
    return head(f"POST {target} HTTP/1.1", "Host: example.test", f"Content-Length: {len(body)}",
                *fields) + body


def post_chunked(target: str, *chunks: bytes, fields: tuple[str, ...] = (),
                 trailers: tuple[str, ...] = ()) -> bytes:
    start = head(f"POST {target} HTTP/1.1", "Host: example.test", "Transfer-Encoding: chunked", *fields)
    return start + chunked(*chunks, trailers=trailers)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(*chunks: bytes, trailers: tuple[str, ...] = ()) -> bytes:
    return b"".join(map(chunk, chunks)) + b"0\r\n" + head(*trailers)[: None if trailers else 2]


def ok(body: bytes = b"ok", *fields: str) -> bytes:
    return head("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *fields) + body


def ok_chunked(*chunks: bytes, fields: tuple[str, ...] = (), trailers: tuple[str, ...] = ()) -> bytes:
    return head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *fields) + chunked(*chunks,
                                                                                    trailers=trailers)


def ok_until_close(body: bytes, *fields: str) -> bytes:
    return head("HTTP/1.1 200 OK", *fields) + body
