from collections.abc import Iterable

from lbd.engine.endpoint import Endpoint
from lbd.engine.key import KeySource
from lbd.engine.shared import Shared

class Sticky:
    source: KeySource
    by_cookie: bool
    def __init__(
        self,
        source: KeySource,
        *,
        cluster: str,
        by_cookie: bool = False,
        secret: bytes = b"",
        attributes: str = "",
        shared: Shared | None = None,
        sessions: int = 65536,
        idle_s: int = 1800,
    ) -> None: ...
    def set_members(self, endpoints: Iterable[Endpoint]) -> None: ...
    def token(self, endpoint: Endpoint) -> bytes: ...
