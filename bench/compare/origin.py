"""The origin: one nginx with one worker, the same for every proxy and every work.

It answers `/small` from memory and `/10k`, `/1m` from files with sendfile; keep-alive never ends, nothing
is logged. It is the same program as one of the proxies under test, which helps none of them: its CPU is not
counted.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.compare.machine import free_port
from bench.compare.process import BenchError, Child

BODIES = {"/small": b"hello, world\n", "/10k": b"0123456789abcdef" * 640, "/1m": b"0123456789abcdef" * 65536}
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
class Origin:
    port: int
    child: Child
    config: str


def start_origin(program: str, directory: Path, cores: Collection[int]) -> Origin:
    files = directory / "files"
    files.mkdir()
    for path, body in BODIES.items():
        (files / path[1:]).write_bytes(body)
    for _ in range(ATTEMPTS):
        port = free_port()
        text = CONFIG.format(dir=directory, port=port, user=nginx_user(), temp=nginx_temp_paths(directory))
        config = directory / "origin.conf"
        config.write_text(text)
        child = Child("origin", nginx_command(program, directory, config), cores, directory / "origin.log")
        if child.wait_listening([port]):
            return Origin(port, child, text)
        child.stop()
    raise BenchError(f"the origin (nginx) does not start: {child.last_words()}")
