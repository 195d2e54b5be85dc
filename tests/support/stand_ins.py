"""Simulated instances as tests use them: their services on loopback, and what a CA is told to believe them by."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import forge
import forge_azure
import forge_tokens

from acme_iid.simulator import aws, gcp, nitro
from acme_iid.simulator.azure import Vm
from acme_iid.simulator.azure_service import AzureService
from acme_iid.simulator.gcp import MetadataServer
from acme_iid.simulator.listener import listening
from acme_iid.simulator.server import MetadataService
from acme_iid.simulator.sts import InstanceWithRole, SecurityTokenService

ACCOUNT = "123456789042"
PROJECT = "my-project"
SUBSCRIPTION = "8a205152-b25a-417f-a676-80465535a6c9"
RESOURCE = "api://ca.example"

EC2 = aws.Instance(account=ACCOUNT)
GCE = gcp.Instance(project=PROJECT, instance_name="web-1")
VM = Vm(subscription=SUBSCRIPTION, tenant=forge_azure.TENANT)
"""One instance in each cloud."""

NITRO_TPM_ATTEST = """\
import argparse, pathlib, sys, time
from acme_iid.simulator import nitro
parser = argparse.ArgumentParser()
parser.add_argument("keys", type=pathlib.Path)
parser.add_argument("instance")
parser.add_argument("--nonce", type=pathlib.Path, required=True)
parser.add_argument("--public-key", type=pathlib.Path)
given = parser.parse_args()
key = given.public_key and given.public_key.read_bytes()
made = nitro.document(given.instance, nitro.Keys.open(given.keys), time.time(),
                      nonce=given.nonce.read_bytes(), public_key=key)
sys.stdout.buffer.write(made)
"""
"""What AWS's program does, as far as its arguments go, with a throw-away root."""


@dataclass
class StandIn:
    """A simulated instance.

    :ivar url: where its metadata service answers.
    :ivar env: what else its programs find in the environment.
    """

    url: str
    env: dict[str, str] = field(default_factory=dict)


@cache
def _sts(instance: aws.Instance) -> SecurityTokenService:
    return SecurityTokenService(instance, forge_tokens.aws_issuer())


@contextmanager
def ec2(instance: aws.Instance, *, role: bool = False) -> Iterator[StandIn]:
    """An EC2 instance, with a role whose web identity tokens the test CAs believe, or without."""
    tree = aws.tree(instance, forge.keys())
    if not role:
        with listening(MetadataService(tree)) as service:
            yield StandIn(service.url)
        return
    tokens = _sts(instance)
    with listening(InstanceWithRole(MetadataService({**tree, **tokens.metadata}), tokens)) as service:
        yield StandIn(service.url, {"AWS_ENDPOINT_URL_STS": service.url})


def nitro_tpm_attest(folder: Path, instance: aws.Instance) -> str:
    """The command that makes an instance's NitroTPM documents, under the root in ``folder``."""
    program = folder / "nitro_tpm_attest.py"
    program.write_text(NITRO_TPM_ATTEST)
    return f"{sys.executable} {program} {folder / 'nitro'} {instance.instance_id}"


@contextmanager
def gce(instance: gcp.Instance) -> Iterator[StandIn]:
    """A Compute Engine instance, its tokens signed by the test key that stands for Google's."""
    with listening(MetadataServer.of(instance, forge_tokens.google())) as service:
        yield StandIn(service.url)


@contextmanager
def azure_vm(vm: Vm, *, stale_nonces: int = 0) -> Iterator[StandIn]:
    """An Azure VM, its documents and tokens signed by the test keys."""
    with listening(AzureService(vm, forge_azure.keys(), stale_nonces=stale_nonces)) as service:
        yield StandIn(service.url)


@contextmanager
def that_gives(kind: str, folder: Path) -> Iterator[StandIn]:
    """The one instance that gives evidence of a format; Azure's first document is a stale one.

    :param folder: for the keys and the program of the NitroTPM.
    """
    with {
        "aws": lambda: ec2(EC2, role=True),
        "gcp": lambda: gce(GCE),
        "azure": lambda: azure_vm(VM, stale_nonces=1),
    }[kind.partition("-")[0]]() as service:
        yield StandIn(service.url, {"ACME_IID_NITRO_TPM_ATTEST": nitro_tpm_attest(folder, EC2), **service.env})


def provisioners(folder: Path) -> str:
    """``[[provisioner]]`` tables that admit all of these, with their keys in files in ``folder``."""
    files = {
        "aws-roots.pem": forge.keys().certificates,
        "nitro-roots.pem": nitro.Keys.open(folder / "nitro").roots,
        "web-identity.json": forge_tokens.aws_issuer().key_set,
        "google.json": forge_tokens.key_set(forge_tokens.google()),
        "azure-roots.pem": forge_azure.keys().roots,
        "tenant.json": forge_azure.keys().key_set,
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)

    def file(name: str) -> str:
        return json.dumps(str(folder / name))

    return f"""
[[provisioner]]
name = "EC2"
type = "AWS"
accounts = ["{ACCOUNT}"]
formats = ["aws-nitrotpm", "aws-web-identity", "aws-rsa2048", "aws-signature"]
iid_roots = {file("aws-roots.pem")}
nitro_roots = {file("nitro-roots.pem")}
[[provisioner.web_identity]]
issuer = "{forge_tokens.aws_issuer().url}"
account = "{ACCOUNT}"
jwks = {file("web-identity.json")}

[[provisioner]]
name = "EC2 in shared networks"
type = "AWS"
accounts = ["999999999999"]
iid_roots = {file("aws-roots.pem")}
networks = ["10.0.0.0/8"]

[[provisioner]]
name = "GCE"
type = "GCP"
projects = ["{PROJECT}"]
jwks = {file("google.json")}
allow = ["{{instance_name}}.vm.local"]
allow_wildcards = ["*.apps.local"]

[[provisioner]]
name = "Azure tenant"
type = "AZURE"
tenants = ["{forge_azure.TENANT}"]
audience = "{RESOURCE}"
jwks = {file("tenant.json")}
iid_roots = {file("azure-roots.pem")}
formats = ["azure-managed-identity"]

[[provisioner]]
name = "Azure VMs"
type = "AZURE"
subscriptions = ["{SUBSCRIPTION}"]
iid_roots = {file("azure-roots.pem")}
"""
