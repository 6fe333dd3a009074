"""Listening sockets: addresses, options, and errors that say what and why."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket

import pytest
from control.worlds import Lines, config_of

from lbd.config.transport import SocketOptions
from lbd.control.sockets import BindError, bound_address, listen
from lbd.control.worker import Worker
from lbd.engine.shared import Shared


def test_port_in_use_is_said_with_its_address() -> None:
    with listen("127.0.0.1:0", 1) as first:
        address = bound_address(first)
        with pytest.raises(BindError) as caught:
            listen(address, 1)
    assert str(caught.value) == f"cannot listen on {address}: Address already in use"
    assert isinstance(caught.value.__cause__, OSError)


def test_address_of_another_machine() -> None:
    with pytest.raises(BindError, match=r"cannot listen on 192\.0\.2\.1:80"):
        listen("192.0.2.1:80", 1)


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EMFILE])
def test_no_socket_is_a_bind_error_too(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A kernel without IPv6, no descriptors left: the operator has to learn which address it was."""

    def refuse(*_: object, **__: object) -> socket.socket:
        raise OSError(code, "refused")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(BindError, match=r"cannot listen on \[::1\]:80: "):
        listen("[::1]:80", 1)


@pytest.mark.parametrize(
    ("address", "host"), [("127.0.0.1:0", "127.0.0.1"), ("localhost:0", "127.0.0.1"), ("[::1]:0", "[::1]")]
)
def test_kernel_chooses_the_port(address: str, host: str) -> None:
    with listen(address, 1) as made:
        bound, _, port = bound_address(made).rpartition(":")
        assert bound == host and int(port) > 0


def test_no_host_means_both_families() -> None:
    with listen(":0", 8) as made:
        text = bound_address(made)
        assert text.startswith(":")
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, int(text[1:])), timeout=5).close()


def test_ipv6_address_is_ipv6_only() -> None:
    with listen("[::1]:0", 1) as made:
        assert made.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_options() -> None:
    with listen("127.0.0.1:0", 1, SocketOptions(keepalive="30s", user_timeout="5s")) as made:
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
        assert not made.getblocking() and not made.get_inheritable()
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


async def start(text: str) -> None:
    await Worker(config_of(text), Lines(), Shared(1, 1 << 20)).start()


def test_one_bad_address_leaves_none_open() -> None:
    """Warnings are errors here, so a socket that is left to the collector fails the test."""
    with listen("127.0.0.1:0", 1) as taken:
        text = f"""
        listeners:
          - {{name: good, bind: "127.0.0.1:0", routes: [{{respond: {{}}}}]}}
          - {{name: bad, bind: "{bound_address(taken)}", routes: [{{respond: {{}}}}]}}
        """
        with pytest.raises(BindError, match="Address already in use"):
            asyncio.run(start(text))
    gc.collect()
