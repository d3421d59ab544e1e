"""nginx as a reverse proxy: what any relay costs at least that somebody would really run.

Debian's package, unpacked into `.tools/nginx` with no root; else the one on the PATH.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from scripts.debian import UnavailableError, unpack
from scripts.environment import TOOLS, alone

CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 4m;
    client_body_buffer_size 128k;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    upstream backend {{
        server {backend};
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {listen};
        {certificate}
        location = /status {{ stub_status; }}
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffer_size 16k;
            proxy_buffers 16 128k;
            proxy_busy_buffers_size 512k;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


def provide() -> Path:
    """The path of nginx. Raises ``UnavailableError`` where it could not be had."""
    into = TOOLS / "nginx"
    program = into / "usr/sbin/nginx"
    with alone("nginx"):
        if program.exists():
            return program
        try:
            unpack(["nginx"], into)
        except UnavailableError as reason:
            found = shutil.which("nginx")
            if found is None:
                raise UnavailableError(
                    f"nginx: none on the PATH, and Debian's package: {reason}"
                ) from None
            return Path(found)
    return program


def configuration(
    folder: Path,
    listen: str,
    backend: str,
    certificate: Path | None = None,
    key: Path | None = None,
) -> str:
    """What nginx is told: one worker, an access log, kept connections, buffers for what is sent."""
    lines = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    return CONFIGURATION.format(
        folder=folder,
        listen=f"{listen} ssl" if certificate else listen,
        backend=backend,
        certificate=lines if certificate else "",
    )
