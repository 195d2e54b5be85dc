"""Proxies from the environment are for the CA, and the metadata service is none of their business."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from running import CA

from acme_iid.simulator import aws


@dataclass
class Proxy:
    """A proxy that keeps the first line of every request, and passes on what CONNECT asks for."""

    url: str = ""
    asked: list[str] = field(default_factory=list)

    def handle(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                read = client.recv(4096)
                if not read:
                    return
                head += read
            line = head.split(b"\r\n")[0].decode()
            self.asked.append(line)
            method, target, _ = line.split(" ")
            if method != "CONNECT":
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=30) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join(timeout=30)


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while read := source.recv(65536):
            target.sendall(read)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxy() -> Iterator[Proxy]:
    running = Proxy()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=running.handle, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield running
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=30)


@pytest.fixture
def vm(tmp_path: Path, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        yield machine


@pytest.mark.parametrize("variables", [("HTTPS_PROXY", "HTTP_PROXY"), ("https_proxy", "http_proxy"), ("ALL_PROXY",)])
def test_the_proxy_is_used_for_the_ca_and_not_for_the_metadata_service(
    shared_ca: CA, vm: Machine, variables: tuple[str, ...]
) -> None:
    with proxy() as recorded:
        vm.env |= {"NO_PROXY": "", **dict.fromkeys(variables, recorded.url)}
        vm.bootstrap(shared_ca)
        vm.order()
        vm.run("evidence")
        vm.run("renew", "--force", vm.crt, vm.key)
        vm.run("account", "rollover")
        vm.run("revoke", "--cert", vm.crt)
    assert recorded.asked
    assert {line.split(" ")[:2] == ["CONNECT", shared_ca.url.removeprefix("https://")] for line in recorded.asked} == {
        True
    }


def test_no_proxy_names_who_is_reached_without_one(shared_ca: CA, vm: Machine) -> None:
    with proxy() as recorded:
        vm.env |= {"HTTPS_PROXY": recorded.url, "NO_PROXY": "127.0.0.1"}
        vm.bootstrap(shared_ca)
    assert recorded.asked == []


def test_a_proxy_that_is_not_there_is_named_as_the_cause(shared_ca: CA, vm: Machine) -> None:
    vm.bootstrap(shared_ca)
    vm.env |= {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""}
    done = vm.try_("health")
    assert done.code >= 10
    assert "The proxy for" in done.stderr
    assert "HTTPS_PROXY" in done.stderr
    assert "NO_PROXY" in done.stderr
