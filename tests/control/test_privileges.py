"""`user`: started as root, lbd binds and is then somebody else, who may bind low ports and nothing more."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import ROOT, Lbd
from harness.messages import get
from harness.waiting import TIMEOUT, eventually
from health.watching import await_line
from reload.changing import Changing

from lbd.control import privileges
from lbd.control.privileges import Identity, PrivilegesKept

USER = "nobody"
ONLY_BINDING = 1 << privileges.CAP_NET_BIND_SERVICE
CONFIG = """
user: nobody
listeners:
  - {name: web, bind: ["127.0.0.1:0", "127.0.0.1:<low>", "unix:<socket>"], cluster: app}
clusters: [{name: app, endpoints: [<origin>]}]
"""
PATHS = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def interpreter_of(user: str) -> str:
    """One of our version that this user may start: homes of root are closed to others."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            done = subprocess.run([candidate, "-c", "import lbd.engine.reactor"], user=user, check=False,
                                  cwd="/", env={"PYTHONPATH": PATHS}, capture_output=True, timeout=30)
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    pytest.skip(f"user {user} may not start this Python")


def started_by_root(kind: type[Lbd], config: str, **places: object) -> Lbd:
    python = interpreter_of(USER)
    lbd = kind(config, env={"PYTHONPATH": PATHS},
               launcher=("/bin/sh", "-c", f'shift; exec {python} "$@"', "sh"), **places)
    lbd.directory.chmod(0o777)
    return lbd


def low_port() -> int:
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no low port is free")


def status_of(pid: int | str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def assert_is_nobody(pid: int) -> None:
    status, entry = status_of(pid), pwd.getpwnam(USER)
    assert status["Uid"].split() == [str(entry.pw_uid)] * 4
    assert status["Gid"].split() == [str(entry.pw_gid)] * 4
    assert "0" not in status["Groups"].split()
    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[name], 16) == ONLY_BINDING, name


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@needs_root
def test_serves_reloads_and_restarts_as_another_user() -> None:
    low = low_port()
    with tempfile.TemporaryDirectory() as place, EchoOrigin() as origin, started_by_root(
        Changing, CONFIG, origin=origin, low=low, socket=f"{place}/web.sock"
    ) as lbd:
        Path(place).chmod(0o777)
        assert isinstance(lbd, Changing)
        path = Path(place) / "web.sock"
        assert_is_nobody(lbd.pid)
        assert path.owner() == USER
        for port in (lbd.address()[1], low):
            with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
                client.sendall(get())
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
        another = low_port()
        lbd.write(CONFIG.replace("127.0.0.1:<low>", f"127.0.0.1:{another}"), origin=origin, socket=path)
        lbd.signal(signal.SIGHUP)
        await_line(lbd, f"listening on 127.0.0.1:{another}")
        lbd.signal(signal.SIGUSR2)
        pid = int(await_line(lbd, "serves now").split("pid ")[1].split()[0])
        assert_is_nobody(pid)
        assert lbd.process.wait(4 * TIMEOUT) == 0
        descriptor = os.pidfd_open(pid)
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        os.close(descriptor)
        eventually(lambda: not path.exists(), "its socket is removed")


@needs_root
def test_workers_are_the_other_user_too() -> None:
    config = """
workers: 2
user: nobody
listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {body: hello}}]}]
"""
    with started_by_root(Lbd, config) as lbd:
        workers = children_of(lbd.pid)
        assert len(workers) == 2
        for pid in (lbd.pid, *workers):
            assert_is_nobody(pid)
        assert lbd.ask(get()).body == b"hello"


def in_a_child(user: str, group: str | None, *binds: str, state: Path | None = None) -> dict[str, str]:
    """Drop privileges in a process that ends; its /proc status, or {"error": why}."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            privileges.drop(Identity.of(user, group), binds, state)
            os.write(theirs, Path("/proc/self/status").read_bytes())
        except BaseException as error:
            os.write(theirs, f"error:\t{error}\n".encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as stream:
        lines = stream.read().splitlines()
    os.waitpid(child, 0)
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@needs_root
def test_a_group_of_its_own_and_a_directory(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    status = in_a_child(USER, "daemon", state=state)
    assert status["Uid"].split()[1] == str(pwd.getpwnam(USER).pw_uid), status
    assert status["Gid"].split()[1] == "1" and int(status["CapEff"], 16) == ONLY_BINDING
    assert state.owner() == USER and state.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_socket_that_is_not_there_stops_it(tmp_path: Path) -> None:
    assert "No such file" in in_a_child(USER, None, f"unix:{tmp_path}/none.sock")["error"]


def test_who_does_not_exist() -> None:
    with pytest.raises(PrivilegesKept, match="user 'no-such-user' does not exist"):
        Identity.of("no-such-user", None)
    with pytest.raises(PrivilegesKept, match="group 'no-such-group' does not exist"):
        Identity.of("root", "no-such-group")


def test_our_own_user_is_no_change() -> None:
    ours = Identity("me", os.geteuid(), os.getegid(), ())
    before = status_of("self")["CapEff"]
    privileges.drop(ours, ["unix:/nowhere"], None)
    assert status_of("self")["CapEff"] == before


def test_others_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PrivilegesKept, match="lbd was not started as root"):
        privileges.drop(Identity("somebody", 12346, 12346, ()), [], None)


def test_a_start_that_cannot_is_none() -> None:
    config = 'listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {body: x}}]}]'
    lbd = Lbd(f"user: no-such-user\n{config}", exit_code=1)
    with pytest.raises(AssertionError, match="before it was ready"), lbd:
        pass
    assert "cannot start: user 'no-such-user' does not exist" in lbd.stderr
