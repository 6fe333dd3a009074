"""Real programs beside lbd: HAProxy before and behind it, nginx behind it. The kernel chooses their ports."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.client import Client
from harness.origin import Refusing
from harness.waiting import TIMEOUT, eventually

Program = Callable[[str], str]
Fronts = dict[str, tuple[str, int]]
DEFAULTS = """
defaults
  timeout connect 2s
  timeout client 10s
  timeout server 10s
"""


@contextmanager
def haproxy(program: Program, directory: Path, config: str, *fronts: str) -> Iterator[Fronts]:
    """HAProxy with `config`, in which <NAME> is where the front NAME listens. Yields their addresses.

    The sockets are opened here and inherited, so nobody can take their ports."""
    sockets = {name: listening() for name in fronts}
    for name, one in sockets.items():
        config = config.replace(f"<{name}>", f"fd@{one.fileno()}")
    file = directory / "haproxy.cfg"
    file.write_text(DEFAULTS + config)
    process = subprocess.Popen(
        [program("haproxy"), "-db", "-f", str(file)], stderr=subprocess.PIPE,
        pass_fds=[one.fileno() for one in sockets.values()])
    addresses = {name: one.getsockname() for name, one in sockets.items()}
    for one in sockets.values():
        one.close()
    try:
        eventually(lambda: process.poll() is not None or all(map(answers, addresses.values())), "it listens")
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield addresses
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT)


def listening() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(64)
    return made


@contextmanager
def nginx(program: Program, directory: Path, servers: str) -> Iterator[str]:
    """nginx with these server blocks; PORT in them is the port of the address that is yielded."""
    with Refusing() as free:
        address = str(free)
    host, port = address.split(":")
    user = "user root;" if os.getuid() == 0 else ""
    paths = " ".join(f"{name}_temp_path {directory}/{name};"
                     for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = directory / "nginx.conf"
    config.write_text(
        f"{user} daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;"
        f"events {{}} http {{ access_log off; {paths} {servers.replace('PORT', port)} }}")
    process = subprocess.Popen([program("nginx"), "-e", f"{directory}/error.log", "-c", str(config)])
    try:
        eventually(lambda: answers((host, int(port))), "nginx listens", timeout=2 * TIMEOUT)
        yield address
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def answers(address: tuple[str, int]) -> bool:
    try:
        Client(address).close()
    except OSError:
        return False
    return True


def curl(program: Program, *arguments: str) -> str:
    """What curl prints; it fails on errors of HTTP, too."""
    command = [program("curl"), "--silent", "--show-error", "--fail-with-body", "--max-time",
               str(2 * TIMEOUT), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, f"curl: {done.returncode} {done.stderr.decode()} {done.stdout[:500]!r}"
    return done.stdout.decode("latin-1")


def address_of(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"\[?(.*?)\]?:(\d+)", text)
    assert match
    return match[1], int(match[2])
