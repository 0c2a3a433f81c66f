"""Providers that accept everything: nginx on loopback, at once, or the sandbox, some time later.

Shared by the benchmarks, so that what they measure is the client.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import httpx

from bench.serving import free_port, listening

ANSWER = '{"message_uuid":"6f1e5f0e-8d3a-4c43-9d06-2f8e1c7c2f10"}'
COUNTER = "/requests-so-far"

_CONFIG = """\
daemon off;
master_process off;
worker_rlimit_nofile 8192;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = {counter} {{ stub_status; }}
        location / {{ return {status} '{answer}'; }}
    }}
}}
"""


@contextlib.contextmanager
def nginx_sink(*, status: int = 202, answer: str = ANSWER) -> Generator[str]:
    """An nginx of its own that answers every request alike; yields its URL without a slash at the end.

    Args:
        status: The status of every answer.
        answer: The body of every answer, without single quotes.

    Raises:
        SystemExit: There is no nginx, or it does not start.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise SystemExit("this benchmark needs nginx (Debian: apt-get install nginx-light)")
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as directory:
        port = free_port()
        config = Path(directory, "nginx.conf")
        fields = {"directory": directory, "port": port, "counter": COUNTER}
        config.write_text(_CONFIG.format(**fields, status=status, answer=answer))
        with listening([nginx, "-p", directory, "-c", str(config), "-e", "stderr"], port=port):
            yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def slow_sink(latency_ms: int) -> Generator[str]:
    """A sandbox in a process of its own that answers after so long; yields its URL, as `nginx_sink` does.

    Raises:
        SystemExit: It does not start.
    """
    port = free_port()
    command = [
        sys.executable,
        "-c",
        "from cli.main import main; main()",
        "sandbox",
        "--port",
        str(port),
        "--latency-ms",
        str(latency_ms),
    ]
    with listening(command, port=port, quiet=True):
        yield f"http://127.0.0.1:{port}"


def requests_served(url: str) -> int:
    """How many requests nginx at `url` has answered, by its own count; this one is among them."""
    lines = httpx.get(f"{url}{COUNTER}", trust_env=False).text.splitlines()
    return int(lines[2].split()[2])


def requests_accepted(url: str) -> int:
    """How many requests the sandbox at `url` has accepted, by its own count."""
    return httpx.get(f"{url}/_sandbox/stats", trust_env=False).json()["accepted"]
