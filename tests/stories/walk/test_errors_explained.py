"""What goes wrong on a machine is told in sentences: what happened, what the CA answered, and what to try."""

from __future__ import annotations

import shlex
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import forge
import pytest
from machine import Machine, ec2_machine
from ports import free_port
from running import CA
from scripted_ca import new_issuer

from acme_iid.simulator import aws
from acme_iid.simulator.listener import Request, Response, listening
from acme_iid.simulator.server import serve


class Off:
    """A metadata service that is switched off."""

    banner = "EC2ws"
    reads: frozenset[str] = frozenset()

    def answer(self, _request: Request) -> Response:
        return Response(HTTPStatus.FORBIDDEN)


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        yield machine


def refused(vm: Machine, *arguments: str | Path) -> str:
    """Order, which must fail and leave no file; what was said."""
    done = vm.try_("order", *(arguments or ("foo.local",)), vm.crt, vm.key, "--force", "--timeout", "5")
    assert done.code >= 10
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] != ""
    assert not vm.crt.exists()
    assert not vm.key.exists()
    return done.stderr


def test_a_machine_that_is_in_no_cloud(vm: Machine) -> None:
    vm.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    said = refused(vm)
    assert "does not seem to be a cloud instance" in said
    assert "the connection is refused" in said
    assert "--metadata-url names another address" in said


def test_a_metadata_service_that_is_switched_off(vm: Machine) -> None:
    with listening(Off()) as service:
        vm.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = service.url
        said = refused(vm)
    assert "is switched off for this instance (403)" in said
    assert "aws ec2 modify-instance-metadata-options" in said
    assert "--http-endpoint enabled" in said


def test_a_hop_limit_that_is_too_low(vm: Machine, instance: aws.Instance) -> None:
    with serve(aws.tree(instance, forge.keys()), tokens="closed") as service:
        vm.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = service.url
        said = refused(vm)
    assert "its session token does not arrive" in said
    assert "--http-put-response-hop-limit 2" in said


def test_a_name_outside_the_cas_domains(vm: Machine) -> None:
    said = refused(vm, "foo.example")
    assert "The CA refused the order of foo.example" in said
    assert "outside this CA's domains (local, internal)" in said
    assert "[ca] domains in ca.toml" in said


def test_a_name_that_is_another_instances(vm: Machine, instance: aws.Instance) -> None:
    said = refused(vm, "i-00000000000000000")
    assert "it is the cloud's name for another instance" in said
    assert f"this one's are {instance.instance_id}" in said


def test_an_instance_of_another_key_is_told_the_command_that_lets_it_in(
    vm: Machine, shared_ca: CA, tmp_path: Path
) -> None:
    vm.order()
    rebuilt = Machine(tmp_path / "rebuilt", vm.metadata)
    rebuilt.folder.mkdir()
    rebuilt.bootstrap(shared_ca)
    said = refused(rebuilt)
    assert "belongs to another account key" in said
    command = said.partition("acme-iid-ca ")[2].splitlines()[0].strip()
    assert rebuilt.json("account", "show")["thumbprint"] in command
    shared_ca.cli(*shlex.split(command))
    rebuilt.order()


def test_a_ca_that_does_not_run(vm: Machine) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    said = refused(vm, "foo.local", "--ca-url", url, "--root", vm.folder / "config/certs/root_ca.crt")
    assert f"The CA at {url} cannot be reached: connection refused" in said
    assert "Is the address right, and does it run?" in said


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=30)
    for connection in kept:
        connection.close()


def test_a_ca_that_does_not_answer_is_waited_for_as_long_as_timeout_says(vm: Machine) -> None:
    with silent() as url:
        said = refused(vm, "foo.local", "--ca-url", url, "--root", vm.folder / "config/certs/root_ca.crt")
    assert f"The CA at {url} did not answer in time" in said
    assert "is a firewall between" in said


def test_a_ca_that_is_not_under_the_root_that_is_known(vm: Machine, shared_ca: CA) -> None:
    other = vm.folder / "other.pem"
    other.write_bytes(new_issuer("Another Root CA").pem)
    said = refused(vm, "foo.local", "--ca-url", shared_ca.url, "--root", other)
    assert f"The server at {shared_ca.url} does not verify under the CA's root certificate" in said
    assert "compare fingerprints and run 'acme-iid bootstrap'" in said


def test_a_fingerprint_that_is_another_ones(vm: Machine, shared_ca: CA) -> None:
    done = vm.try_("bootstrap", "--ca-url", shared_ca.url, "--fingerprint", "ab" * 32)
    assert done.code >= 10
    assert "The server has no root certificate with that fingerprint" in done.stderr
    assert "'acme-iid-ca fingerprint'" in done.stderr


def test_an_account_that_was_deactivated(vm: Machine, shared_ca: CA) -> None:
    vm.order()
    for file in (vm.crt, vm.key):
        file.unlink()
    shared_ca.cli("account", "deactivate", vm.json("account", "show")["thumbprint"])
    said = refused(vm)
    assert "The CA refused the order of foo.local: this account is deactivated" in said
    assert "'acme-iid account deactivate' sets its key aside here" in said
    assert "an operator has to release the instance" in said
