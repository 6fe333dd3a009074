"""What a process gets from the one that started it: listening sockets, of systemd or of an lbd.

Hot restart, the old process: `hand_over` starts the same command again (whatever executable stands there now)
and waits until it says that it serves; when it does not, everything goes on as it was. The new process:
`Inheritance.take`, use what it has, `tell_ready`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from lbd.control.listening import Address
from lbd.control.sockets import bound_address

VARIABLE = "LBD_HANDOVER"  # the descriptor of a file that says what else there is
ADMIN = Address("admin", "admin")  # what stands for the admin listener's address
READY_SECONDS = 60.0
FIRST_OF_SYSTEMD = 3  # sd_listen_fds(3)


class HandoverFailed(Exception):
    """The new process does not serve; str() says why."""


@dataclass(slots=True)
class Inheritance:
    """sockets: by address; health: by cluster/endpoint; activated: of systemd, by where they are."""

    sockets: dict[Address, list[socket.socket]] = field(default_factory=dict)
    activated: dict[str, list[socket.socket]] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=dict)
    ready: int | None = None

    @classmethod
    def take(cls, environment: MutableMapping[str, str] = os.environ) -> Inheritance:
        """All that there is; the environment forgets it, so that programs which lbd starts do not see it."""
        made = cls()
        text = environment.pop(VARIABLE, None)
        if text is not None:
            with os.fdopen(int(text), "rb") as file:
                file.seek(0)
                said = json.load(file)
            for name, owner, descriptors in said["sockets"]:
                made.sockets[Address(name, owner)] = [_socket(one) for one in descriptors]
            made.health = said["health"]
            made.ready = said["ready"]
            os.set_inheritable(made.ready, False)
        count, owner = environment.pop("LISTEN_FDS", None), environment.pop("LISTEN_PID", None)
        environment.pop("LISTEN_FDNAMES", None)
        if count is not None and owner == str(os.getpid()):
            for descriptor in range(FIRST_OF_SYSTEMD, FIRST_OF_SYSTEMD + int(count)):
                one = _socket(descriptor)
                made.activated.setdefault(bound_address(one), []).append(one)
        return made

    def sockets_for(self, address: Address) -> list[socket.socket]:
        """Those that listen there already; they are the caller's from now on."""
        return self.sockets.pop(address, None) or self.activated.pop(address.text, [])

    def close_unused(self) -> list[str]:
        """What nothing listens on any more; the addresses."""
        left = [*self.sockets.items(), *((Address(name), some) for name, some in self.activated.items())]
        for _, several in left:
            for one in several:
                one.close()
        self.sockets.clear()
        self.activated.clear()
        return [address.text for address, _ in left if address != ADMIN]

    def tell_ready(self) -> None:
        """To the process that is replaced: it may go."""
        if self.ready is not None:
            with contextlib.suppress(OSError):  # it has gone already
                os.write(self.ready, b"ready\n")
            os.close(self.ready)
            self.ready = None


def _socket(descriptor: int) -> socket.socket:
    made = socket.socket(fileno=descriptor)
    made.set_inheritable(False)
    made.setblocking(False)
    return made


async def hand_over(
    sockets: Mapping[Address, list[socket.socket]], health: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start the command of this process again with these sockets; the process, once it serves.

    HandoverFailed: it is not there any more."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    descriptors = {address: [one.fileno() for one in several] for address, several in sockets.items()}
    said: dict[str, Any] = {
        "sockets": [[address.text, address.owner, some] for address, some in descriptors.items()],
        "health": dict(health),
        "ready": theirs,
    }
    letter = os.memfd_create("lbd handover", os.MFD_CLOEXEC)
    os.write(letter, json.dumps(said).encode())
    passed = {letter, theirs, *(one for some in descriptors.values() for one in some)}
    command = [sys.executable, *sys.orig_argv[1:]]
    environment = {**os.environ, VARIABLE: str(letter)}
    environment.pop("WATCHDOG_PID", None)  # it is the new one that systemd will listen to
    try:
        process = subprocess.Popen(command, env=environment, pass_fds=tuple(passed))  # noqa: ASYNC220
    except OSError as error:
        os.close(ours)
        raise HandoverFailed(f"{command[0]}: {error.strerror}") from error
    finally:
        os.close(theirs)
        os.close(letter)
    try:
        async with asyncio.timeout(READY_SECONDS):
            heard = await _first_word(ours)
    except TimeoutError:
        process.kill()
        raise HandoverFailed(f"it does not serve after {READY_SECONDS:g} s") from None
    finally:
        os.close(ours)
    if not heard:
        process.kill()
        raise HandoverFailed("it has ended; its log says why")
    return process


async def _first_word(descriptor: int) -> bytes:
    """What comes first; nothing at the end."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 64)
