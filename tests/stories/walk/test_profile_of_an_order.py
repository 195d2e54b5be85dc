"""A kind of certificate that a person asks for by name, and that its renewals keep."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from machine import ec2_machine
from running import CA

from acme_iid.simulator import aws

PROFILES = """
[profile.usual]
description = "Both sides of a connection"

[profile.web]
description = "TLS servers"
usages = ["server"]
"""


def usages(certificate: Path) -> list[x509.ObjectIdentifier]:
    """What a certificate is for."""
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    return list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_an_order_names_a_profile_and_its_renewals_keep_it(own_ca: CA, tmp_path: Path, instance: aws.Instance) -> None:
    toml = own_ca.home / "ca.toml"
    toml.write_text(toml.read_text() + PROFILES)
    own_ca.start("--workers", "1")
    with ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(own_ca)
        vm.order()
        assert usages(vm.crt) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        vm.order("--profile", "web")
        assert usages(vm.crt) == [ExtendedKeyUsageOID.SERVER_AUTH]
        before = vm.crt.read_bytes()
        vm.run("renew", "--force", vm.crt, vm.key)
        assert vm.crt.read_bytes() != before
        assert usages(vm.crt) == [ExtendedKeyUsageOID.SERVER_AUTH]
        refused = vm.try_("order", "foo.local", vm.crt, vm.key, "--force", "--profile", "none")
        assert refused.code >= 10
        assert "its profiles are usual, web" in refused.stderr
