"""nginx as an expert sets it up: see `proxies` for what holds for all."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.compare.origin import Site, nginx_command, nginx_temp_paths, nginx_user
from bench.compare.proxies import ON_REQUEST, Proxy, first_version

CONFIG = """\
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
{http}}}
stream {{
    server {{
        listen 127.0.0.1:{tcp} backlog=4096;
        tcp_nodelay on;
        {stream_buffers}
        proxy_pass 127.0.0.1:{origin};
    }}
}}
"""

# 256 idle connections: HTTP/2 to the origin has one call per connection here, and 8 x 32 calls are in flight.
UPSTREAM = """\
    upstream {name} {{
        server 127.0.0.1:{port};
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
"""

SERVER = """\
    server {{
        listen 127.0.0.1:{listen} backlog=4096;{settings}
        location / {{
{location}
        }}
    }}
"""

# Without ssl_session_cache: clients resume by tickets here as with the others, so it would only be more work.
TLS = """
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;"""

FORWARD = """\
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_max_temp_file_size 0;
            {buffers}"""

GRPC = """\
            grpc_pass grpc://grpc;
            grpc_set_header Host $http_host;
            grpc_set_header X-Forwarded-For $remote_addr;
            grpc_set_header X-Forwarded-Proto $scheme;"""

WEBSOCKET = """\
            proxy_pass http://127.0.0.1:{echo};
            proxy_http_version 1.1;
            proxy_set_header Connection "upgrade";
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;"""


@dataclass
class Nginx(Proxy):
    """No temporary files: a body never touches the disk. Tuned: large buffers, a third of the CPU per MiB."""

    name: str = "nginx"
    roles: tuple[str, ...] = ("http", "tcp", *ON_REQUEST)
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

    def _servers(self, ports: Mapping[str, int], site: Site) -> str:
        """The blocks inside `http`: what each role needs."""
        forward = FORWARD.format(buffers=self.http_buffers if self.tuned else "")
        text = UPSTREAM.format(name="origin", port=site.http)
        text += SERVER.format(listen=ports["http"], settings="", location=forward)
        if "tls" in ports:
            files = site.certified()
            settings = TLS.format(cert=files.cert, key=files.key)
            text += SERVER.format(listen=f"{ports['tls']} ssl http2", settings=settings, location=forward)
        if "h2c" in ports:
            text += SERVER.format(listen=f"{ports['h2c']} http2", settings="", location=forward)
        if "grpc" in ports:
            text += UPSTREAM.format(name="grpc", port=site.ports["grpc"])
            text += SERVER.format(listen=f"{ports['grpc']} http2", settings="", location=GRPC)
        if "ws" in ports:
            location = WEBSOCKET.format(echo=site.ports["echo"])
            text += SERVER.format(listen=ports["ws"], settings="", location=location)
        return text

    def config(self, directory: Path, ports: Mapping[str, int], site: Site) -> str:
        return CONFIG.format(
            dir=directory, origin=site.http, tcp=ports["tcp"], user=nginx_user(),
            temp=nginx_temp_paths(directory), stream_module=self._stream_module() or "",
            http=self._servers(ports, site), stream_buffers=self.stream_buffers if self.tuned else "",
        )  # fmt: skip

    def command(self, directory: Path, config: Path) -> list[str]:
        return nginx_command(self.program, directory, config)
