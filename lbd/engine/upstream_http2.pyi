from lbd.engine.pool import Protocol

class Http2(Protocol):
    def __init__(self, *, streams: int = 100, may_be_http1: bool = False) -> None: ...
