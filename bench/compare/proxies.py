"""What a proxy under test is, and lbd as one; `nginx`, `haproxy` and `rivals` hold the others.

lbd, nginx and HAProxy, whose ratio counts, are set up as an expert of each would: one worker on one core,
keep-alive to the origin with enough idle connections for every client connection, no access log,
X-Forwarded-For and X-Forwarded-Proto set, Host kept. Sessions of TLS are resumed by tickets alone.

A proxy listens in several roles. Always, where it can: `http`, `large` (HTTP again, where it has a setting
that helps large bodies and costs small ones) and `tcp`. Only when a work asks for it, so that memory at the
start stays that of a plain proxy: `tls` (HTTP/1.1 and HTTP/2 by ALPN), `h2c` (HTTP/2 by prior knowledge),
`grpc` (HTTP/2 on both sides) and `ws` (HTTP/1.1 to the WebSocket origin).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.compare.machine import free_port
from bench.compare.origin import ATTEMPTS, Site
from bench.compare.process import BenchError, Child, UsageError

ON_REQUEST = ("tls", "h2c", "grpc", "ws")  # roles that are configured only when a work needs them


@dataclass
class Running:
    """A started proxy: where it listens and what it was started with."""

    name: str
    child: Child
    ports: dict[str, int]
    config: str

    def port(self, role: str) -> int | None:
        """The port of a role; None when this proxy cannot play it."""
        return self.ports.get(role, self.ports["http"] if role == "large" else None)


@dataclass
class Proxy:
    """How to find, configure and start one program; subclasses say what differs."""

    name: str = ""
    roles: tuple[str, ...] = ("http", "tcp")
    config_name: str = "proxy.conf"
    program: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    tuned: bool = True  # for large bodies as an expert would; else the program's own defaults

    def find(self) -> str | None:
        """The program's path; None when it is not installed. Scripts of this Python's wheels come first."""
        beside = Path(sys.executable).parent / self.program
        return str(beside) if beside.is_file() else shutil.which(self.program)

    def missing(self) -> str | None:
        """Why it cannot take part, if so."""
        return None if self.find() else f"{self.program} is not installed"

    def version(self) -> str:
        raise NotImplementedError

    def config(self, directory: Path, ports: Mapping[str, int], site: Site) -> str:
        """The configuration text for these listeners, by role."""
        raise NotImplementedError

    def command(self, directory: Path, config: Path) -> list[str]:
        raise NotImplementedError

    def start(self, directory: Path, cores: Collection[int], site: Site, wanted: Collection[str]) -> Running:
        """Start it on free ports, with the roles that are wanted; again when a port was taken meanwhile."""
        directory.mkdir(exist_ok=True)
        config = directory / self.config_name
        roles = [role for role in self.roles if role not in ON_REQUEST or role in wanted]
        for _ in range(ATTEMPTS):
            ports = {role: free_port() for role in roles}
            text = self.config(directory, ports, site)
            config.write_text(text)
            log = directory / f"{self.name}.log"
            child = Child(self.name, self.command(directory, config), cores, log, **self.environment)
            if child.wait_listening(list(ports.values())):
                return Running(self.name, child, ports, text)
            child.stop()
        raise BenchError(f"{self.name} does not start: {child.last_words()}")


def first_version(command: list[str]) -> str:
    """The first thing like a version number in what a command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found.group() if found else "unknown"


@dataclass
class Lbd(Proxy):
    """Metrics are on (admin listener), the access log is off: the defaults a user has."""

    name: str = "lbd"
    roles: tuple[str, ...] = ("http", "tcp", "admin", *ON_REQUEST)
    config_name: str = "lbd.yaml"
    run_command: list[str] = field(default_factory=lambda: [sys.executable, "-m", "lbd", "run", "-c"])

    def find(self) -> str | None:
        return shutil.which(self.run_command[0])

    def missing(self) -> str | None:
        return None if self.find() else f"{self.run_command[0]} is not found"

    def version(self) -> str:
        base = (
            self.run_command[: self.run_command.index("run")]
            if "run" in self.run_command
            else self.run_command
        )
        return first_version([*base, "version"])

    def config(self, directory: Path, ports: Mapping[str, int], site: Site) -> str:
        admin = f"admin: {{bind: '127.0.0.1:{ports['admin']}'}}"
        lines = ["workers: 1", admin, "access_log: off", "listeners:"]
        settings = {"http": "protocol: http, cluster: origin", "tcp": "protocol: tcp, cluster: origin"}
        if "tls" in ports:
            files = f"{{cert: {site.certified().cert}, key: {site.certified().key}}}"
            settings["tls"] = f"protocol: http, cluster: origin, tls: {{certificates: [{files}]}}"
        settings |= {
            "h2c": "protocol: http, cluster: origin",
            "grpc": "protocol: http, cluster: grpc",
            "ws": "protocol: http, cluster: echo",
        }
        for role, setting in settings.items():
            if role in ports:
                lines.append(f"  - {{name: {role}, bind: '127.0.0.1:{ports[role]}', {setting}}}")
        lines += ["clusters:", f"  - {{name: origin, endpoints: ['127.0.0.1:{site.http}']}}"]
        if "grpc" in ports:
            address = f"127.0.0.1:{site.ports['grpc']}"
            lines.append(f"  - {{name: grpc, protocol: http2, endpoints: ['{address}']}}")
        if "ws" in ports:
            lines.append(f"  - {{name: echo, endpoints: ['127.0.0.1:{site.ports['echo']}']}}")
        return "\n".join(lines) + "\n"

    def command(self, directory: Path, config: Path) -> list[str]:
        return [*self.run_command, str(config)]


def with_lbd_command(text: str) -> Lbd:
    """lbd started by another command, which gets the config's path as its last argument."""
    words = shlex.split(text)
    if not words:
        raise UsageError("--lbd: the command is empty")
    return Lbd(run_command=words)
