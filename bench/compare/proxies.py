"""The proxies whose ratio counts: lbd, nginx and HAProxy, each set up as an expert of it would.

All of them: one worker on one core, keep-alive to the origin with enough idle connections for every client
connection, no access log, X-Forwarded-For and X-Forwarded-Proto set, Host kept. A proxy listens in up to
three roles: `http`, `large` (HTTP again, where it has a setting that helps large bodies and costs small
ones) and `tcp`. The programs that join when they are installed stand in `rivals`.
"""

from __future__ import annotations

import re
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.compare.machine import free_port
from bench.compare.origin import ATTEMPTS, nginx_command, nginx_temp_paths, nginx_user
from bench.compare.process import BenchError, Child, UsageError


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

    def config(self, directory: Path, ports: Mapping[str, int], origin: int) -> str:
        raise NotImplementedError

    def command(self, directory: Path, config: Path) -> list[str]:
        raise NotImplementedError

    def start(self, directory: Path, cores: Collection[int], origin: int) -> Running:
        """Start it on free ports; again with others when one was taken meanwhile."""
        directory.mkdir(exist_ok=True)
        config = directory / self.config_name
        for _ in range(ATTEMPTS):
            ports = {role: free_port() for role in self.roles}
            text = self.config(directory, ports, origin)
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
    roles: tuple[str, ...] = ("http", "tcp", "admin")
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

    def config(self, directory: Path, ports: Mapping[str, int], origin: int) -> str:
        return (
            f"workers: 1\n"
            f"admin: {{bind: '127.0.0.1:{ports['admin']}'}}\n"
            f"access_log: off\n"
            f"listeners:\n"
            f"  - {{name: web, bind: '127.0.0.1:{ports['http']}', protocol: http, cluster: origin}}\n"
            f"  - {{name: raw, bind: '127.0.0.1:{ports['tcp']}', protocol: tcp, cluster: origin}}\n"
            f"clusters:\n"
            f"  - {{name: origin, endpoints: ['127.0.0.1:{origin}']}}\n"
        )

    def command(self, directory: Path, config: Path) -> list[str]:
        return [*self.run_command, str(config)]


NGINX = """\
{stream_module}
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log error;
{user}
events {{ worker_connections 16384; multi_accept on; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    {temp}
    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{http} backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_max_temp_file_size 0;
            {http_buffers}
        }}
    }}
}}
stream {{
    server {{
        listen 127.0.0.1:{tcp} backlog=4096;
        tcp_nodelay on;
        {stream_buffers}
        proxy_pass 127.0.0.1:{origin};
    }}
}}
"""


@dataclass
class Nginx(Proxy):
    """No temporary files: a body never touches the disk. Tuned: large buffers, a third of the CPU per MiB."""

    name: str = "nginx"
    config_name: str = "nginx.conf"
    program: str = "nginx"
    http_buffers: str = "proxy_buffer_size 16k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;"
    stream_buffers: str = "proxy_buffer_size 128k;"

    def _stream_module(self) -> str | None:
        """The load_module line for the stream block, empty when it is built in; None when it is missing."""
        built = subprocess.run(
            [self.program, "-V"], capture_output=True, text=True, timeout=20, check=False
        ).stderr
        if "--with-stream=dynamic" not in built:
            return "" if "--with-stream" in built else None
        path = re.search(r"--modules-path=(\S+)", built)
        module = Path(path.group(1) if path else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
        return f"load_module {module};" if module.is_file() else None

    def missing(self) -> str | None:
        if not self.find():
            return "nginx is not installed"
        if self._stream_module() is None:
            return "nginx lacks the stream module (Debian: apt install libnginx-mod-stream)"
        return None

    def version(self) -> str:
        return first_version([self.program, "-v"])

    def config(self, directory: Path, ports: Mapping[str, int], origin: int) -> str:
        return NGINX.format(
            dir=directory, origin=origin, user=nginx_user(), temp=nginx_temp_paths(directory),
            stream_module=self._stream_module() or "", **ports,
            http_buffers=self.http_buffers if self.tuned else "",
            stream_buffers=self.stream_buffers if self.tuned else "",
        )  # fmt: skip

    def command(self, directory: Path, config: Path) -> list[str]:
        return nginx_command(self.program, directory, config)


HAPROXY = """\
global
    maxconn {maxconn}
    nbthread 1
    {pipes}
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    option http-keep-alive
    http-reuse always
    no log
    backlog 4096
backend origin
    server origin 127.0.0.1:{origin} pool-max-conn 256
backend origin-tcp
    mode tcp
    {splice}
    server origin 127.0.0.1:{origin}
backend origin-large
    {splice}
    server origin 127.0.0.1:{origin} pool-max-conn 256
frontend web
    bind 127.0.0.1:{http}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    default_backend origin
frontend web-large
    bind 127.0.0.1:{large}
    {splice}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    default_backend origin-large
frontend raw
    mode tcp
    bind 127.0.0.1:{tcp}
    {splice}
    default_backend origin-tcp
"""


@dataclass
class Haproxy(Proxy):
    """Tuned: splices in TCP mode and, on a listener of its own, large HTTP bodies; small ones are copied.

    Not `splice-auto`: its heuristics hardly ever splice here, which costs twice the CPU of splicing always.
    """

    name: str = "haproxy"
    roles: tuple[str, ...] = ("http", "large", "tcp")
    config_name: str = "haproxy.cfg"
    program: str = "haproxy"

    def version(self) -> str:
        return first_version([self.find() or self.program, "-v"])

    def config(self, directory: Path, ports: Mapping[str, int], origin: int) -> str:
        # Two descriptors per connection and per pipe; more than the limit allows is a fatal error.
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        maxconn = min(9000, (descriptors - 1000) // 2)
        pipes = "maxpipes 256\n    tune.pipesize 262144" if self.tuned else ""
        splice = "option splice-request\n    option splice-response" if self.tuned else ""
        return HAPROXY.format(origin=origin, maxconn=maxconn, pipes=pipes, splice=splice, **ports)

    def command(self, directory: Path, config: Path) -> list[str]:
        return [self.find() or self.program, "-db", "-f", str(config)]


def with_lbd_command(text: str) -> Lbd:
    """lbd started by another command, which gets the config's path as its last argument."""
    words = shlex.split(text)
    if not words:
        raise UsageError("--lbd: the command is empty")
    return Lbd(run_command=words)
