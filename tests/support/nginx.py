"""Debian's nginx, with one folder for all that it writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interop.harness import listens, running, until

_AROUND = """
daemon off;
user root;
worker_processes 1;
pid {home}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
{http}
}}
"""


@contextmanager
def nginx(home: Path, port: int, http: str) -> Iterator[None]:
    """Run it, from when it listens.

    :param home: the folder.
    :param port: the one on which it listens.
    :param http: what stands in the block ``http`` of its configuration.
    """
    file = home / "nginx.conf"
    file.write_text(_AROUND.format(home=home, http=http))
    with running("/usr/sbin/nginx", "-c", file, "-e", home / "error.log", log=home / "nginx.log"):
        until(lambda: listens(port), "nginx")
        yield
