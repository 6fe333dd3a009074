"""A Runtime of a configuration that serves nobody: for config tests, `lbd plan`, and `lbd explain` of a file.

All is as if everything were well: every name resolves, nothing is down, nothing is under way. Nothing outside
of this process is touched: no socket, no file of a certificate, no access log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lbd.config import schema
from lbd.config.units import is_ip
from lbd.control.compile import Runtime, compile_runtime
from lbd.engine.accesslog import LogWriter
from lbd.engine.reactor import Reactor
from lbd.engine.shared import Shared

SOMEWHERE = "192.0.2.1"  # RFC 5737: an address for documents, nobody's


class _Everywhere(Mapping[str, str]):
    """Every host has an address."""

    def __getitem__(self, host: str) -> str:
        return host if is_ip(host) or host.startswith("unix:") else SOMEWHERE

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@contextmanager
def dry_run(config: schema.Config) -> Iterator[Runtime]:
    """The Runtime, as long as it is wanted. May be used beside a running loop; it must not be awaited in."""
    loop = asyncio.new_event_loop()
    try:
        runtime = compile_runtime(
            _bare(config), Reactor(loop, _fail), Shared(1), _Everywhere(), open_log=_no_log
        )
        runtime.config = config
        yield runtime
    finally:
        loop.close()


def _bare(config: schema.Config) -> schema.Config:
    """Without what would be read or written; whether a listener speaks TLS is looked up in the original."""
    return config.model_copy(
        update={
            "access_log": "off",
            "listeners": tuple(
                one.model_copy(update={"tls": None, "access_log": "off"}) for one in config.listeners
            ),
            "clusters": tuple(one.model_copy(update={"tls": None}) for one in config.clusters),
        }
    )


def _no_log(target: str) -> LogWriter:
    raise AssertionError(f"a dry run logs to {target}")


def _fail(error: BaseException) -> None:
    raise error
