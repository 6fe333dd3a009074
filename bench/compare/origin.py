"""The origins, the same for every proxy: one nginx worker, and two more for what nginx does not speak.

nginx answers `/small` from memory and `/10k`, `/1m` from files with sendfile; keep-alive never ends, nothing
is logged. It is the same program as one of the proxies under test, which helps none of them: its CPU is not
counted. gRPC calls go to nghttpd, which speaks HTTP/2 without TLS and ends each answer with a grpc-status
trailer (nginx could do that too, at eight times the CPU); WebSockets go to `wsecho.c`. Those two run only
when a work needs them.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from bench.compare.certificate import Certificate, make_certificate
from bench.compare.machine import free_port
from bench.compare.process import BenchError, Child
from bench.compare.programs import compile_program
from bench.compare.works import GRPC_PATH

# A gRPC message: not compressed, 4 bytes of length, then protobuf: field 1 of HelloRequest and HelloReply.
GRPC_REQUEST = b"\x00\x00\x00\x00\x07\x0a\x05world"
GRPC_REPLY = b"\x00\x00\x00\x00\x0d\x0a\x0bHello world"
PAGES = {"/small": b"hello, world\n", "/10k": b"0123456789abcdef" * 640, "/1m": b"0123456789abcdef" * 65536}
BODIES = {**PAGES, GRPC_PATH: GRPC_REPLY}
ATTEMPTS = 3

CONFIG = """\
daemon off;
worker_processes 1;
pid {dir}/origin.pid;
error_log {dir}/origin-error.log error;
{user}
events {{ worker_connections 16384; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    open_file_cache max=16 inactive=1h;
    {temp}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /small {{ default_type text/plain; return 200 "hello, world\\n"; }}
        location / {{ root {dir}/files; }}
    }}
}}
"""


def nginx_user() -> str:
    """Workers of a root nginx would become `nobody`, who cannot read the temporary directory."""
    return "user root root;" if os.geteuid() == 0 else ""


def nginx_temp_paths(directory: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {directory}/nginx-{kind};" for kind in kinds)


def nginx_command(program: str, directory: Path, config: Path) -> list[str]:
    return [program, "-p", str(directory), "-e", f"{directory}/nginx-start.log", "-c", str(config)]


@dataclass
class Site:
    """What proxies are configured with: ports of the origins, and the certificate of their TLS listeners.

    `ports` has `http` always, `grpc` and `echo` when a work needs them; the same holds for `certificate`.
    """

    ports: dict[str, int] = field(default_factory=dict)
    certificate: Certificate | None = None
    children: list[Child] = field(default_factory=list)
    config: str = ""
    commands: dict[str, str] = field(default_factory=dict)

    @property
    def http(self) -> int:
        return self.ports["http"]

    def certified(self) -> Certificate:
        if self.certificate is None:
            raise BenchError("no certificate was made for this run")
        return self.certificate

    def stop(self) -> None:
        for child in self.children:
            child.stop()


def start_site(program: str, directory: Path, cores: Collection[int], roles: Collection[str]) -> Site:
    """Start the origins that these roles of the proxies need; `program` is nginx.

    Raises BenchError when one does not start; what was started by then is stopped.
    """
    site = Site()
    try:
        _start_nginx(site, program, directory, cores)
        if "grpc" in roles:
            _start_grpc(site, directory, cores)
        if "ws" in roles:
            echo = str(compile_program("wsecho", directory))
            _start(site, "echo", directory, cores, lambda port: [echo, str(port)])
        if "tls" in roles:
            site.certificate = make_certificate(directory)
    except BaseException:
        site.stop()
        raise
    return site


def _start_nginx(site: Site, program: str, directory: Path, cores: Collection[int]) -> None:
    files, config = directory / "files", directory / "origin.conf"
    files.mkdir()
    for path, body in PAGES.items():
        (files / path[1:]).write_bytes(body)

    def command(port: int) -> list[str]:
        temp = nginx_temp_paths(directory)
        site.config = CONFIG.format(dir=directory, port=port, user=nginx_user(), temp=temp)
        config.write_text(site.config)
        return nginx_command(program, directory, config)

    _start(site, "http", directory, cores, command)


def _start_grpc(site: Site, directory: Path, cores: Collection[int]) -> None:
    """nghttpd with one thread; it answers when the whole request is there, as a gRPC server would."""
    program = shutil.which("nghttpd")
    if program is None:
        raise BenchError("work grpc needs nghttpd (Debian: apt install nghttp2-server)")
    calls, types = directory / "calls", directory / "mime.types"
    reply = calls / GRPC_PATH[1:]
    reply.parent.mkdir(parents=True)
    reply.write_bytes(GRPC_REPLY)
    types.write_text("application/grpc grpc\n")
    settings = ["--no-tls", "--workers=1", "--trailer=grpc-status: 0", f"--mime-types-file={types}"]
    where = ["--address=127.0.0.1", f"--htdocs={calls}"]
    _start(site, "grpc", directory, cores, lambda port: [program, *settings, *where, str(port)])


def _start(
    site: Site, name: str, directory: Path, cores: Collection[int], command: Callable[[int], list[str]]
) -> None:
    """Start one origin on a free port; again with another when it was taken meanwhile."""
    for _ in range(ATTEMPTS):
        port = free_port()
        words = command(port)
        child = Child(f"origin {name}", words, cores, directory / f"origin-{name}.log")
        if child.wait_listening([port]):
            site.ports[name] = port
            site.children.append(child)
            site.commands["origin" if name == "http" else f"origin {name}"] = shlex.join(words)
            return
        child.stop()
    raise BenchError(f"the origin for {name} does not start: {child.last_words()}")
