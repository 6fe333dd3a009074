"""What a CertificateKeeper meets in tests: a log and listeners that remember, a loop in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Self, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from harness.waiting import TIMEOUT

from lbd.config.loader import load_text
from lbd.config.schema import Config
from lbd.engine.tls import TlsError

T = TypeVar("T")
Entry = tuple[Sequence[str], bytes, bytes]


class Lines:
    """In the place of lbd's log."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    def debug(self, message: str) -> None:
        self.all.append(("debug", message))

    def info(self, message: str) -> None:
        self.all.append(("info", message))

    def warning(self, message: str) -> None:
        self.all.append(("warning", message))

    def error(self, message: str) -> None:
        self.all.append(("error", message))

    def of(self, level: str) -> list[str]:
        return [text for kind, text in list(self.all) if kind == level]

    def have(self, part: str) -> bool:
        return any(part in text for _, text in list(self.all))


class FakeTls:
    """In the place of a listener's ServerTls; refuses a host on demand, like OpenSSL a weak signature."""

    def __init__(self, refused: str | None = None) -> None:
        self.installed: list[list[Entry]] = []
        self.challenges: list[dict[str, tuple[bytes, bytes]]] = []
        self.refused = refused

    def install(self, certificates: Sequence[Entry]) -> None:
        if any(self.refused in hosts for hosts, _, _ in certificates if self.refused is not None):
            raise TlsError("certificate: ca md too weak")
        self.installed.append(list(certificates))

    def set_challenges(self, challenges: Mapping[str, tuple[bytes, bytes]]) -> None:
        self.challenges.append(dict(challenges))

    def fingerprints(self) -> list[str]:
        """Of the certificates in force."""
        chains = [chain for _, chain, _ in self.installed[-1]] if self.installed else []
        return [x509.load_pem_x509_certificate(c).fingerprint(hashes.SHA256()).hex() for c in chains]


class LoopThread:
    """An event loop that runs while the test waits with `eventually`."""

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_cancel_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(TIMEOUT)
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(2 * TIMEOUT)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        async def on_loop() -> T:
            return function(*arguments)

        return self.run(on_loop())


async def _cancel_others() -> None:
    """What a failed test left behind."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


def config_of(tls: str, more: str = "") -> Config:
    """A configuration with one listener `web` that has these TLS settings (YAML flow style)."""
    return load_text(
        f"{more}\nlisteners: [{{name: web, bind: ':8443', cluster: app, tls: {tls}}}]\n"
        "clusters: [{name: app, endpoints: ['127.0.0.1:9001']}]\n",
        env={},
    )
