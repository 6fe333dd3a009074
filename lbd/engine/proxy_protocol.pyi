from typing import NamedTuple

class ProxyHeader(NamedTuple):
    version: int
    family: int
    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    alpn: bytes
    authority: bytes
    unique_id: bytes
    tls: bool
    consumed: int

def inspect_proxy(data: bytes) -> ProxyHeader | None: ...
def make_proxy(
    version: int,
    source: tuple[str, int] | None = None,
    destination: tuple[str, int] | None = None,
    *,
    alpn: bytes = b"",
    authority: bytes = b"",
    unique_id: bytes = b"",
    tls: bool = False,
) -> bytes: ...
