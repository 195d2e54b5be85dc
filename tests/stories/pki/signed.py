"""All that the CA signs, as files for linters: of each kind of key, profile and cloud."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import stand_ins
from certificate_status_requests import intermediate, revoke
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from machine import Machine
from pki import http_status
from pki.rotating import serving
from ports import free_port
from running import ACCOUNT, CA, answer

from acme_iid.issuance import ceremony, keys, root_crl
from acme_iid.issuance.ceremony import KEY_TYPES
from acme_iid.issuance.issuer import Signer
from acme_iid.simulator import aws

PROFILES = """
[profile.server]
description = "TLS servers"
usages = ["server"]
[profile.client]
description = "TLS clients"
usages = ["client"]
[profile.agreement]
description = "All key usages"
key_usages = ["digitalSignature", "keyEncipherment", "keyAgreement"]
"""
_REASONS = {"unspecified": None, "key-compromise": 1, "superseded": 4}
_LONG = f"{'a' * 60}.{'b' * 60}.local"
"""A name that is too long for a subject."""


class Signed:
    """A folder of what was signed.

    :ivar certificates: PEM files, as ``lists`` are.
    :ivar answers: DER files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates: list[Path] = []
        self.lists: list[Path] = []
        self.answers: list[Path] = []

    def certificate(self, name: str, certificate: x509.Certificate) -> None:
        self._add(self.certificates, f"{name}.crt", certificate.public_bytes(Encoding.PEM))

    def revocation_list(self, name: str, der: bytes) -> None:
        self._add(self.lists, f"{name}.crl", x509.load_der_x509_crl(der).public_bytes(Encoding.PEM))

    def answer(self, name: str, der: bytes) -> None:
        self._add(self.answers, f"{name}.ocsp", der)
        for place, responder in enumerate(ocsp.load_der_ocsp_response(der).certificates):
            self.certificate(f"{name}-responder-{place}", responder)

    def _add(self, files: list[Path], name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        files.append(path)


def of_key_types(signed: Signed, folder: Path) -> None:
    """Add what a CA signs from its beginning to the link to its next root, for each kind of key."""
    for key_type in KEY_TYPES:
        port = free_port()
        ca = CA(folder / key_type)
        ca.init(constrained=True, made_with=(
            "--key-type", key_type, "--root-crl-url", f"http://127.0.0.1:{port}/root-crl/{{root}}"
        ))  # fmt: skip
        http_status.turn_on(ca, port)
        signed.certificate(f"{key_type}-root", _only(ca.root))
        signed.certificate(f"{key_type}-intermediate", intermediate(ca))
        _from_ceremonies(signed, ca, key_type)
        with serving(ca):
            _from_server(signed, ca, key_type)


def _only(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _from_ceremonies(signed: Signed, ca: CA, name: str) -> None:
    """What the root's key signs besides the intermediate: lists, the link to the next root, another CA's issuer."""
    now = int(time.time())
    root, issuer = Signer(_only(ca.root), keys.load(ca.root_key, None)), intermediate(ca)
    for what, revoked in {"empty": [], "revoking": [issuer]}.items():
        der = root_crl.sign(root, revoked, "cACompromise", None, now, 86400)
        signed.revocation_list(f"{name}-root-{what}", der)
    following = ceremony.create_root("Next", now).certificate
    for what, url in {"": None, "-with-list": "http://pki.test/root.crl"}.items():
        signed.certificate(f"{name}-link{what}", ceremony.link(root, following, now, url))
        signed.certificate(f"{name}-cross-signed{what}-intermediate", ceremony.cross_sign(root, issuer, now, url))


def _from_server(signed: Signed, ca: CA, name: str) -> None:
    """Its own certificate, lists, answers and leaves."""
    host = ca.url.removeprefix("https://").rpartition(":")[0]
    served = ssl.get_server_certificate((host, ca.port))
    signed.certificate(f"{name}-serving", x509.load_pem_x509_certificate(served.encode()))
    session = ca.wire().session
    signed.revocation_list(f"{name}-empty", session.get(f"{ca.url}/crl", timeout=30).content)
    account, vm = ca.account(), answer(aws.Instance(account=ACCOUNT))
    leaves = {status: account.obtain("foo.local", answer=vm) for status in ("good", *_REASONS)}
    signed.certificate(f"{name}-leaf", leaves["good"].leaf)
    for status, reason in _REASONS.items():
        revoke(account, leaves[status], reason)
    signed.revocation_list(f"{name}-revoking", session.get(f"{ca.url}/crl", timeout=30).content)
    for status, leaf in leaves.items():
        question = ocsp.OCSPRequestBuilder().add_certificate(leaf.leaf, intermediate(ca), hashes.SHA256()).build()
        asked = session.post(f"{ca.url}/ocsp", question.public_bytes(Encoding.DER), timeout=30,
                             headers={"Content-Type": "application/ocsp-request"})  # fmt: skip
        signed.answer(f"{name}-{status}", asked.content)


def without_constraints(signed: Signed, folder: Path) -> None:
    """Add a CA's certificates without constraints, with some in the root, and without private networks."""
    for name, constrained, options in (
        ("free", False, ()),
        ("constrained-root", True, ("--constrain-root",)),
        ("no-address", True, ("--no-permitted-network",)),
    ):
        ca = CA(folder / name)
        ca.init(constrained=constrained, made_with=options)
        signed.certificate(f"{name}-root", _only(ca.root))
        signed.certificate(f"{name}-intermediate", intermediate(ca))


def of_profiles_and_clouds(signed: Signed, folder: Path) -> None:
    """Add leaves of each cloud, profile and kind of key, and of names of all kinds.

    The status of these is seen below the server's URL, by https.
    """
    ca = CA(folder / "clouds")
    ca.cli("init", "--name", "My CA", "--domain", "local", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}")
    file = ca.home / "ca.toml"
    text = file.read_text().replace("\n[server]", "crl = true\n\n[server]", 1)
    file.write_text(text + PROFILES + stand_ins.provisioners(folder))
    with serving(ca), ExitStack() as stack:
        clouds = {
            "aws": stack.enter_context(stand_ins.ec2(stand_ins.EC2)),
            "gcp": stack.enter_context(stand_ins.gce(stand_ins.GCE)),
            "azure": stack.enter_context(stand_ins.azure_vm(stand_ins.VM)),
        }
        for name, service in clouds.items():
            vm = Machine(folder / name, env=service.env)
            vm.folder.mkdir()
            vm.bootstrap(ca)
            for kind, arguments in _orders(name):
                vm.run("order", *arguments, vm.crt, vm.key, "--force", "--metadata-url", service.url)
                signed.certificate(f"{name}-{kind}", _only(vm.crt))


def _orders(cloud: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    name = {"aws": "a.local", "gcp": f"{stand_ins.GCE.instance_name}.vm.local", "azure": "b.local"}[cloud]
    yield "leaf", (name,)
    if cloud == "aws":
        for profile in ("server", "client", "agreement"):
            yield f"profile-{profile}", (name, "--profile", profile)
        for key, options in {
            "rsa": ("--kty", "RSA"), "p384": ("--curve", "P-384"), "p521": ("--curve", "P-521"),
            "ed25519": ("--kty", "OKP", "--curve", "Ed25519"),
        }.items():  # fmt: skip
            yield f"key-{key}", (name, *options)
        yield "address", (stand_ins.EC2.private_ip,)
        yield "long-name", (_LONG,)
        yield "many-names", (name, "--san", stand_ins.EC2.private_ip, "--san", f"x.{name}")
    if cloud == "gcp":
        yield "wildcard", ("*.apps.local",)


def everything(folder: Path) -> Signed:
    """Sign it all, with CAs of their own in ``folder``."""
    out = folder / "signed"
    out.mkdir()
    signed = Signed(out)
    of_key_types(signed, folder)
    without_constraints(signed, folder)
    of_profiles_and_clouds(signed, folder)
    return signed
