from collections.abc import Iterable

from lbd.engine.endpoint import Balancer, Endpoint

class RoundRobin(Balancer):
    def __init__(self, endpoints: Iterable[Endpoint]) -> None: ...
