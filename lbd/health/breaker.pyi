from collections.abc import Mapping
from typing import Any

from lbd.engine.guard import Guard

class Breaker(Guard):
    def __init__(self, *, rule: Mapping[str, Any], each_endpoint: bool = False) -> None: ...
