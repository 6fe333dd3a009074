"""A CertificateKeeper over files in a directory: what the tests of replacing and of starting share."""

from __future__ import annotations

import time
from pathlib import Path

from certs.making import Made, make
from certs.stage import FakeTls, Lines, config_of

from lbd.control.certs.keeper import CertificateKeeper

NEVER = 3600.0


class Watched:
    """A keeper of one or two certificates in a directory, and a listener."""

    def __init__(self, directory: Path, count: int = 1, refused: str | None = None) -> None:
        self.directory, self.log, self.tls, self.ahead = directory, Lines(), FakeTls(refused), 0.0
        self.made = [make(f"{letter}.example.com") for letter in "abc"[:count]]
        self.paths = [made.write(directory, f"c{index}") for index, made in enumerate(self.made)]
        entries = ", ".join(f"{{cert: {cert}, key: {key}}}" for cert, key in self.paths)
        self.keeper = CertificateKeeper(
            config_of(f"{{certificates: [{entries}]}}"),
            self.log,  # type: ignore[arg-type]
            poll=NEVER,
            clock=lambda: time.time() + self.ahead,
        )
        self.keeper.load()

    async def __aenter__(self) -> Watched:
        self.keeper.start({"web": self.tls}, lambda paths: None)  # type: ignore[dict-item]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.keeper.stop()

    async def polls(self, count: int) -> None:
        for _ in range(count):
            await self.keeper.look_once()

    def in_force(self) -> list[str]:
        return self.tls.fingerprints()

    def errors(self) -> list[str | None]:
        return [record.error for record in self.keeper.certificates()]


def in_place(watched: Watched, new: Made) -> None:
    for path, content in zip(watched.paths[0], (new.cert_pem, new.key_pem), strict=True):
        path.write_bytes(content)
