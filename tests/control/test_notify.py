"""sd_notify over a real datagram socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from harness.lbd import Lbd

from lbd.control.systemd import notify


def receiver(address: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(5)
    made.bind(address)
    return made


def test_assignments_arrive_in_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver(str(tmp_path / "notify")) as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert notify("READY=1", "STATUS=serving") is True
        assert systemd.recv(4096) == b"READY=1\nSTATUS=serving"


def test_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"lbd-test-{os.getpid()}"
    with receiver(f"\0{name}") as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify("STOPPING=1")
        assert systemd.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize(
    "value", [None, "", "/nonexistent/socket", "@nobody-listens-here", "relative", "x" * 200]
)
def test_nobody_listens(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert notify("READY=1") is False


def test_daemon_says_ready_and_stopping(tmp_path: Path) -> None:
    config = 'listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {}}]}]'
    with receiver(str(tmp_path / "notify")) as systemd:
        with Lbd(config, env={"NOTIFY_SOCKET": str(tmp_path / "notify")}):
            assert b"READY=1" in systemd.recv(4096).split(b"\n")
        assert b"STOPPING=1" in systemd.recv(4096).split(b"\n")


def test_daemon_that_cannot_start_is_never_ready(tmp_path: Path) -> None:
    config = 'listeners: [{name: web, bind: "192.0.2.1:80", routes: [{respond: {}}]}]'
    with receiver(str(tmp_path / "notify")) as systemd:
        daemon = Lbd(config, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        daemon.start()
        try:
            assert daemon.wait() == 1
            assert "cannot listen on 192.0.2.1:80" in daemon.stderr
        finally:
            daemon.discard()
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):
            systemd.recv(4096)
