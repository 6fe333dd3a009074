from collections.abc import Iterable

from lbd.engine.router import Matcher

Values = tuple[str, ...] | bool

class Header(Matcher):
    def __init__(self, name: str, values: Values) -> None: ...

class Query(Matcher):
    def __init__(self, name: str, values: Values) -> None: ...

class Cookie(Matcher):
    def __init__(self, name: str, values: Values) -> None: ...

class MethodIn(Matcher):
    def __init__(self, methods: Iterable[str]) -> None: ...

class Source(Matcher):
    def __init__(self, networks: Iterable[str]) -> None: ...

class BodySize(Matcher):
    def __init__(self, low: int, high: int) -> None: ...

class ClientCertificate(Matcher):
    def __init__(
        self,
        subject: tuple[str, ...] | None = None,
        names: tuple[str, ...] | None = None,
        fingerprint: tuple[str, ...] | None = None,
    ) -> None: ...

def network_table(networks: Iterable[str]) -> bytes: ...
