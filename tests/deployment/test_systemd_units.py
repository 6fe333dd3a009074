"""systemd/: the unit, its drop-in and the socket, as systemd reads them, and lbd within their limits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get

from lbd.cli.loading import EXIT_BAD_CONFIG
from lbd.config.schema import Config

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICE = UNITS / "lbd.service"
DROP_IN = UNITS / "lbd.service.d" / "before-253.conf"
MOST_EXPOSURE = 20  # tenths; systemd calls up to 20 "OK". Without the sandbox it is 92
NEEDS_DROP_IN = "Failed to parse service type, ignoring: notify-reload"
CONFIG = """
workers: <workers>
admin: {bind: "127.0.0.1:0"}
access_log: {to: <log>}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - {name: app, endpoints: [<origin>], health_check: {type: exec, command: ["true"], interval: 1s}}
"""
Find = Callable[[str], str]


def run(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | (env or {})
    )


def settings_of(*files: Path) -> dict[str, list[str]]:
    """Name -> values; sections do not matter, as no name stands in two of them."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for name, value in re.findall(r"^(\w+)=(.*)$", file.read_text(), re.MULTILINE):
            found[name].append(value)
    return found


def installed(directory: Path, *, drop_in: bool) -> Path:
    """The units in a directory of their own, with an lbd that is there."""
    program = directory / "lbd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    kinds = [SERVICE, UNITS / "lbd.socket", *([DROP_IN] if drop_in else [])]
    for file in kinds:
        target = directory / file.relative_to(UNITS)
        target.parent.mkdir(exist_ok=True)
        text = re.sub(r"^(Exec\w+=)lbd ", rf"\1{program} ", file.read_text(), flags=re.MULTILINE)
        target.write_text(text)
    return directory / "lbd.service"


def version(analyze: str) -> int:
    return int(re.search(r"systemd (\d+)", run(analyze, "--version").stdout)[1])  # type: ignore[index]


def complaints(analyze: str, file: Path) -> list[str]:
    """What systemd finds wrong with a unit and its drop-ins, not with units that they name."""
    done = run(analyze, "verify", "--man=no", "--recursive-errors=no", str(file))
    said = [line for line in done.stderr.splitlines() if str(file.parent) in line or "lbd." in line]
    assert (done.returncode != 0) == bool(said), done
    return said


@pytest.mark.parametrize("drop_in", [True, False], ids=["before-253", "later"])
def test_systemd_has_nothing_to_say(program: Find, tmp_path: Path, drop_in: bool) -> None:
    analyze = program("systemd-analyze")
    unit = installed(tmp_path, drop_in=drop_in)
    if version(analyze) < 253:
        assert all(line.endswith(NEEDS_DROP_IN) for line in complaints(analyze, unit))
        unit.write_text(unit.read_text().replace("Type=notify-reload", "Type=notify"))
    assert complaints(analyze, unit) == []
    assert complaints(analyze, tmp_path / "lbd.socket") == []


def test_systemd_does_look(program: Find, tmp_path: Path) -> None:
    """Else the test above would pass on anything."""
    unit = installed(tmp_path, drop_in=True)
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=gently"))
    said = complaints(program("systemd-analyze"), unit)
    assert any("gently" in line for line in said)


def test_exposure(program: Find, tmp_path: Path) -> None:
    unit = installed(tmp_path, drop_in=True)
    options = ("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE}")
    done = run(program("systemd-analyze"), *options, str(unit))
    assert done.returncode == 0, done.stdout
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert run(program("systemd-analyze"), *options, str(unit)).returncode != 0


def test_unit_agrees_with_lbd() -> None:
    unit = settings_of(SERVICE)
    assert unit["RestartPreventExitStatus"] == [str(EXIT_BAD_CONFIG)]
    drain = Config.model_fields["drain_timeout"].default
    assert int(unit["TimeoutStopSec"][0].removesuffix("s")) >= drain + 10
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]
    families = set(unit["RestrictAddressFamilies"][0].split())
    assert families == {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}
    assert unit["StateDirectory"] == [Path(Config.model_fields["state_directory"].default).name]


def test_drop_in_replaces_what_old_systemd_does_not_know() -> None:
    both = settings_of(SERVICE, DROP_IN)
    assert both["Type"] == ["notify-reload", "notify"]
    assert [command.split()[0] for command in both["ExecReload"]] == ["lbd", "kill"]
    assert "ExecReload" not in settings_of(SERVICE)  # it would be run beside the signal


def test_variables_of_the_environment_file_are_used() -> None:
    names = re.findall(r"^#?([A-Z_]+)=", (UNITS / "default" / "lbd").read_text(), re.MULTILINE)
    assert names == ["LBD_CONFIG", "LBD_ADMIN_TOKEN"]
    assert "${LBD_CONFIG}" in settings_of(SERVICE)["ExecStart"][0]


@pytest.mark.parametrize("workers", [1, 2])
def test_lbd_without_memory_that_is_written_and_executed(tmp_path: Path, workers: int) -> None:
    """MemoryDenyWriteExecute, NoNewPrivileges and UMask, by what the kernel has for it."""
    enter = (
        "import ctypes, os, sys; os.umask(0o027); libc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.prctl(65, 1, 0, 0, 0): sys.exit(9)\n"  # PR_SET_MDWE, Linux 6.3
        "if libc.prctl(38, 1, 0, 0, 0): sys.exit(9)\n"  # PR_SET_NO_NEW_PRIVS
        "os.execvp(sys.argv[1], sys.argv[1:]) if sys.argv[1:] else None\n"
    )
    if run(sys.executable, "-c", enter).returncode == 9:
        pytest.skip("this kernel cannot deny it")
    launcher = (sys.executable, "-c", enter)
    log = tmp_path / "access.log"
    with (
        EchoOrigin() as origin,
        Lbd(CONFIG, origin=origin, workers=workers, log=log, launcher=launcher) as lbd,
    ):
        assert lbd.ask(get()).status == 200
        assert lbd.admin("/api/info").status == 200
        assert log.stat().st_mode & 0o777 == 0o640


def allowed_calls(analyze: str) -> set[str]:
    """What SystemCallFilter lets through, groups in groups resolved."""
    groups: dict[str, list[str]] = {}
    for line in run(analyze, "syscall-filter").stdout.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.append(line.strip())
    found, left = set(), settings_of(SERVICE)["SystemCallFilter"]
    while left:
        name = left.pop()
        if name.startswith("@"):
            left.extend(groups[name])
        else:
            found.add(name)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_system_calls_are_allowed(program: Find, tmp_path: Path, workers: int) -> None:
    strace, analyze = program("strace"), program("systemd-analyze")
    if run(strace, "-o", "/dev/null", "true").returncode != 0:
        pytest.skip("processes cannot be traced here")
    trace, log = tmp_path / "trace", tmp_path / "access.log"
    frequent = "trace=!read,write,epoll_wait,epoll_pwait"
    launcher = (strace, "-f", "-qq", "-D", "-o", str(trace), "--seccomp-bpf", "-e", frequent)
    with (
        EchoOrigin() as origin,
        Lbd(CONFIG, origin=origin, workers=workers, log=log, launcher=launcher) as lbd,
    ):
        assert lbd.ask(get()).status == 200
        assert lbd.admin("/metrics").status == 200
    called = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    allowed = allowed_calls(analyze)
    assert {"accept4", "execve"} <= called and {"accept4", "splice"} <= allowed and "reboot" not in allowed
    assert called <= allowed
