"""Listening sockets: made here, handed to the engine as plain fds."""

from __future__ import annotations

import errno
import os
import socket

from lbd.config.units import join_address, split_address


class BindError(Exception):
    """An address cannot be listened on; str() says which and why."""


def listen(address: str, backlog: int) -> socket.socket:
    """A listening, non-blocking TCP socket; accepted sockets inherit the options that are set here."""
    host, port = split_address(address)
    family = socket.AF_INET6 if not host or ":" in host else socket.AF_INET
    try:
        made = _new_socket(family)
    except OSError as error:
        if host or error.errno != errno.EAFNOSUPPORT:
            raise _refused(address, error) from error
        return listen(f"0.0.0.0:{port}", backlog)  # a kernel without IPv6: all addresses are the IPv4 ones
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not host else 1)
        made.bind((("127.0.0.1" if host == "localhost" else host) or "::", port))
        made.listen(backlog)
    except OSError as error:
        made.close()
        raise _refused(address, error) from error
    return made


def _new_socket(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _refused(address: str, error: OSError) -> BindError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return BindError(f"cannot listen on {address}: {reason}")


def bound_address(made: socket.socket) -> str:
    """Where it listens, the kernel's choice of port included."""
    name = made.getsockname()
    return join_address("" if name[0] == "::" else name[0], name[1])
