"""Listening sockets: made here, handed to the engine as plain fds."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import stat
from pathlib import Path

from lbd.config import transport
from lbd.config.units import join_address, split_address


class BindError(Exception):
    """An address cannot be listened on; str() says which and why."""


def listen_together(
    address: str, backlog: int, options: transport.SocketOptions | None, count: int
) -> list[socket.socket]:
    """So many sockets on one address, among which the kernel spreads those who connect. BindError."""
    first = listen(address, backlog, options, alone=count == 1)
    made = [first]
    if first.family == socket.AF_UNIX:
        return made * count  # there is one queue for all of them
    where = bound_address(first)
    try:
        while len(made) < count:
            made.append(listen(where, backlog, options, alone=False, beside=True))
    except BaseException:
        for one in made:
            one.close()
        raise
    return made


def listen_again(
    several: list[socket.socket],
    address: str,
    backlog: int,
    options: transport.SocketOptions | None,
    count: int,
) -> list[socket.socket]:
    """So many sockets, from those that listen there already. BindError."""
    for one in several:
        if one.family != socket.AF_UNIX:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        apply_options(one, address, options)
        one.listen(backlog)
    while len(several) < count:
        try:
            if several[0].family == socket.AF_UNIX:
                raise BindError("unix sockets have one queue")
            several.append(listen(bound_address(several[0]), backlog, options, alone=False, beside=True))
        except BindError:  # made without SO_REUSEPORT: then all share one queue
            several.append(several[0].dup())
    for one in several[count:]:
        one.close()
    return several[:count]


def listen(
    address: str,
    backlog: int,
    options: transport.SocketOptions | None = None,
    *,
    mode: int = 0o666,
    alone: bool = True,
    beside: bool = False,
) -> socket.socket:
    """A listening, non-blocking socket; accepted sockets inherit the options that are set here. BindError.

    mode: of a unix socket, so who may connect to it. alone: no other socket may have the address, even later;
    beside: others of lbd have it already.
    """
    if address.startswith("unix:"):
        return _listen_unix(address, backlog, mode)
    host, port = split_address(address)
    family = socket.AF_INET6 if not host or ":" in host else socket.AF_INET
    try:
        made = _new_socket(family)
    except OSError as error:
        if host or error.errno != errno.EAFNOSUPPORT:
            raise _refused(address, error) from error
        # a kernel without IPv6: all addresses are the IPv4 ones
        return listen(f"0.0.0.0:{port}", backlog, options, alone=alone, beside=beside)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        apply_options(made, address, options)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not host else 1)
        if beside:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((("127.0.0.1" if host == "localhost" else host) or "::", port))
        if not alone and not beside:  # only now, so that another program's address is not shared unnoticed
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.listen(backlog)
    except OSError as error:
        made.close()
        raise _refused(address, error) from error
    except BindError:
        made.close()
        raise
    return made


def apply_options(
    made: socket.socket,
    address: str,
    options: transport.SocketOptions | None,
    *,
    dry_run: bool = False,
) -> None:
    """All options of a listener, which sockets that it accepts inherit. BindError for a congestion control
    that the kernel does not offer; a dry run only finds that out."""
    if made.family == socket.AF_UNIX:
        return
    options = options or transport.SocketOptions()
    if dry_run:
        if options.congestion is not None:
            with _new_socket(made.family) as probe:
                try_congestion(probe, options.congestion, f"cannot listen on {address}")
        return
    if options.congestion is not None:
        try_congestion(made, options.congestion, f"cannot listen on {address}")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, options.keepalive is not None)
    if options.keepalive is not None:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, math.ceil(options.keepalive))
    user_timeout_ms = math.ceil((options.user_timeout or 0) * 1000)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)
    if options.fast_open:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, options.fast_open)


def try_congestion(made: socket.socket, name: str, what: str) -> None:
    """Set it, or say which ones the kernel offers. BindError."""
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError as error:
        try:
            offered = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().split()
        except OSError:
            offered = []
        raise BindError(
            f"{what}: congestion control {name!r}: {os.strerror(error.errno or 0)}; "
            f"this kernel allows {', '.join(offered) or 'others'}"
        ) from error


def _listen_unix(address: str, backlog: int, mode: int) -> socket.socket:
    """A Unix socket; a socket that nobody serves is replaced."""
    path = address.removeprefix("unix:")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if _is_abandoned(path):
            Path(path).unlink()
        made.bind(path)
        Path(path).chmod(mode)
        made.listen(backlog)
    except OSError as error:
        made.close()
        raise _refused(address, error) from error
    return made


def _is_abandoned(path: str) -> bool:
    """Whether it is a socket that a daemon left behind, and not one in use."""
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def unlink_unix(address: str) -> None:
    """After listening has ended."""
    if address.startswith("unix:"):
        # without the right to: it is taken over at the next start
        with contextlib.suppress(FileNotFoundError, PermissionError):
            Path(address.removeprefix("unix:")).unlink()


def _new_socket(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _refused(address: str, error: OSError) -> BindError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return BindError(f"cannot listen on {address}: {reason}")


def bound_address(made: socket.socket) -> str:
    """Where it listens, the kernel's choice of port included."""
    if made.family == socket.AF_UNIX:
        return f"unix:{made.getsockname()}"
    name = made.getsockname()
    return join_address("" if name[0] == "::" else name[0], name[1])
