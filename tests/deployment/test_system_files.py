"""systemd/: user, directories, log rotation, by the programs that read them."""

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually

FILES = Path(__file__).parents[2] / "systemd"
CONFIG = """
access_log: {to: <log>, format: combined}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
Find = Callable[[str], str]


def run(*command: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """path: a directory whose programs come first."""
    env = os.environ | ({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


def test_user(program: Find, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    sysusers = (program("systemd-sysusers"), f"--root={tmp_path}")
    done = run(*sysusers, "--dry-run", str(FILES / "sysusers.d" / "lbd.conf"))
    assert (done.returncode, list((tmp_path / "etc").iterdir())) == (0, [])
    said = done.stdout + done.stderr
    assert re.search(r"group 'lbd'", said) and re.search(r"user 'lbd' \(lbd load balancer\)", said), said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give directories away")
def test_directories(program: Find, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    done = run(program("systemd-sysusers"), root, str(FILES / "sysusers.d" / "lbd.conf"))
    assert done.returncode == 0, done
    done = run(program("systemd-tmpfiles"), root, "--create", str(FILES / "tmpfiles.d" / "lbd.conf"))
    assert (done.returncode, done.stderr) == (0, "")
    passwd = (tmp_path / "etc" / "passwd").read_text()
    uid, gid = map(int, re.search(r"^lbd:[^:]*:(\d+):(\d+):", passwd, re.MULTILINE).groups())  # type: ignore[union-attr]
    found = {
        name: ((made := (tmp_path / name).stat()).st_mode & 0o7777, made.st_uid, made.st_gid)
        for name in ("etc/lbd", "var/lib/lbd", "var/log/lbd")
    }
    assert found == {
        "etc/lbd": (0o750, 0, gid),
        "var/lib/lbd": (0o700, uid, gid),
        "var/log/lbd": (0o750, uid, gid),
    }


def rotation_for(directory: Path) -> Path:
    """The rotation of logs in this directory, which belongs to whoever runs the tests."""
    user = f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
    text = (FILES / "logrotate.d" / "lbd").read_text()
    assert "su lbd lbd" in text and "/var/log/lbd/*.log" in text
    file = directory / "lbd.conf"
    file.write_text(text.replace("su lbd lbd", f"su {user}").replace("/var/log/lbd", str(directory)))
    file.chmod(0o644)
    return file


def test_rotation_is_well_formed(program: Find, tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    done = run(program("logrotate"), "-d", str(rotation_for(tmp_path)))
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr
    assert "Handling 1 logs" in done.stderr


def test_rotation_loses_no_line(program: Find, tmp_path: Path) -> None:
    """Whole: logrotate, its script, the signal, lbd. systemctl is played, as no systemd runs in tests."""
    tmp_path.chmod(0o750)
    log, asked = tmp_path / "access.log", tmp_path / "asked"
    rotation = rotation_for(tmp_path)
    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin, log=log) as lbd:
        systemctl = tmp_path / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$@" > {asked}\nkill -USR1 {lbd.pid}\n')
        systemctl.chmod(0o755)
        lbd.ask(get("/first"))
        eventually(lambda: log.exists() and "/first" in log.read_text(), "the first line")
        done = run(program("logrotate"), "-f", "-s", str(tmp_path / "state"), str(rotation), path=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert asked.read_text() == "kill --kill-whom=main --signal=USR1 lbd.service\n"
        eventually(log.exists, "lbd makes the new file")
        lbd.ask(get("/second"))
        eventually(lambda: "/second" in log.read_text(), "the second line")
        assert "/first" not in log.read_text()
        assert "/first" in (tmp_path / "access.log.1").read_text()
        assert lbd.process.poll() is None
