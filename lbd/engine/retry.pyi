from collections.abc import Iterable

METHODS: dict[str, int]
CAUSES: dict[str, int]

class RetryPolicy:
    limit: int
    causes: int
    grpc: int
    methods: int
    by_key: bool
    try_ms: int
    base_ms: int
    longest_ms: int
    multiplier: float
    jitter: bool
    buffer: int
    hedge_ms: int
    def __init__(
        self,
        *,
        limit: int = 2,
        causes: Iterable[str] = ...,
        statuses: Iterable[int] = (),
        grpc: Iterable[int] = (),
        methods: Iterable[str] = ...,
        by_key: bool = True,
        excepted: Iterable[tuple[bytes, bool]] = (),
        try_ms: int = 0,
        base_ms: int = 0,
        longest_ms: int = 0,
        multiplier: float = 2.0,
        jitter: bool = True,
        buffer: int = 0,
        hedge_ms: int = 0,
    ) -> None: ...
    def would_retry(self, cause: str, code: int = 0) -> bool: ...
    def would_allow(self, method: str, head: bytes) -> bool: ...
    def wait(self, turn: int, random: int) -> float: ...

class RetryBudget:
    ratio: float
    least: float
    def __init__(self, ratio: float = 0.2, least: float = 10.0) -> None: ...
    def on_request(self) -> None: ...
    def take(self, seconds: float) -> bool: ...
