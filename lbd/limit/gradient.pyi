from lbd.engine.guard import ConcurrencyLimit

class Gradient(ConcurrencyLimit):
    def __init__(
        self, *, initial: int, least: int, most: int, tolerance: float, round_ms: int
    ) -> None: ...
    def sample(self, seconds: float, active: int, now: float, failed: bool = False) -> None: ...
