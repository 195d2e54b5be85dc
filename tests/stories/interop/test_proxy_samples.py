"""The proxy's configuration that is given away, as it stands but for names, ports and files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from nginx import nginx
from pages import REPOSITORY, commands
from ports import free_port
from running import CA, run_module

FOLDER = "/etc/acme-iid-ca/proxy"


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """A text with other values than its examples, each of which it has."""
    for example, real in pairs:
        assert example in text
        text = text.replace(example, real)
    return text


@pytest.fixture
def public_port() -> int:
    return free_port()


@pytest.fixture
def proxied(tmp_path: Path, public_port: int) -> Iterator[CA]:
    """A CA behind nginx with the sample, whose certificate was made as the page says."""
    ca = CA(tmp_path / "ca")
    ca.cli("init", "--url", f"https://localhost:{public_port}", "--listen", f"127.0.0.1:{ca.port}")
    text = (ca.home / "ca.toml").read_text()
    (ca.home / "ca.toml").write_text(text.replace("[server]\n", '[server]\nproxies = ["127.0.0.1"]\n', 1))
    folder = tmp_path / "nginx"
    folder.mkdir()
    typed = replaced(commands("proxy-certificate"), (FOLDER, str(folder)), ("\\\n", "")).splitlines()
    assert [line.split()[0] for line in typed] == ["install", "runuser", "nginx"]
    ca.cli(*shlex.split(typed[1].partition("-- acme-iid-ca ")[2]))
    sample = replaced(
        (REPOSITORY / "packaging/samples/nginx.conf").read_text(),
        ("127.0.0.1:8080", f"127.0.0.1:{ca.port}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{public_port} ssl"),
        ("ca.internal", "localhost"),
        (FOLDER, str(folder)),
    )
    ca.start("--plain-http")
    with nginx(folder, public_port, sample):
        yield ca
    ca.stop()


def test_a_client_takes_nginx_for_the_ca_and_is_seen_through_it(proxied: CA, public_port: int, tmp_path: Path) -> None:
    url = f"https://localhost:{public_port}"
    told = run_module(
        "acme_iid_client", "bootstrap", "--ca-url", url, "--fingerprint", proxied.fingerprint,
        env={**os.environ, "ACME_IID_CONFIG_DIR": str(tmp_path / "client")},
    )  # fmt: skip
    assert told.code == 0, told.stderr
    with requests.Session() as session:
        session.trust_env = False
        directory = session.get(f"{url}/acme/directory", verify=str(proxied.root), timeout=60).json()
    assert directory["newOrder"].startswith(url)
