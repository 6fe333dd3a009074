"""The admin listener as the daemon sees it: opened, moved and closed as the configuration says."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from lbd.config import schema
from lbd.control.inheritance import ADMIN
from lbd.control.listening import Address
from lbd.control.sockets import bound_address, listen, unlink_unix

if TYPE_CHECKING:
    from lbd.admin.server import AdminServer
    from lbd.control.worker import Worker

SOCKET_MODE = 0o660  # lbd's user and group
BACKLOG = 128


class AdminListener:
    """At most one listener at a time."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._server: AdminServer | None = None
        self._bind: str | None = None
        self._socket: socket.socket | None = None  # a second descriptor of it, for a process that replaces us

    def prepare(self, setting: schema.Admin | None) -> socket.socket | None:
        """A socket for another address than the present one. BindError."""
        if setting is None or setting.bind == self._bind:
            return None
        # takes a while: before clients are accepted, not after
        import lbd.admin.server
        import lbd.control.explain_endpoints  # noqa: F401

        inherited = self._worker.inheritance.sockets_for(ADMIN)
        if inherited:
            return inherited[0]
        return listen(setting.bind, BACKLOG, mode=SOCKET_MODE)

    def held(self) -> dict[Address, list[socket.socket]]:
        """The listening socket, for another process."""
        return {ADMIN: [self._socket]} if self._socket is not None else {}

    async def adopt(self, setting: schema.Admin | None, made: socket.socket | None) -> None:
        """Go by this setting from now on; `made` is what prepare gave for it."""
        before = self._bind
        if setting is None:
            self.close()
            return
        if made is not None:
            self._worker.log.info(f"admin: listening on {bound_address(made)}")
            if self._socket is not None:
                self._socket.close()
            self._socket = made.dup()
        if self._server is None:
            from lbd.admin.server import AdminServer

            self._server = AdminServer(setting, self._worker)
        await self._server.serve(setting, made)
        self._bind = setting.bind
        if before is not None and before != setting.bind:
            unlink_unix(before)

    def close(self, *, unlink: bool = True) -> None:
        """Stop listening. unlink: the path of a unix socket, which another process may have now."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._bind is not None and unlink:
            unlink_unix(self._bind)
        self._bind = None
