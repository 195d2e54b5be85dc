"""certbot with the plugin: certificates from the real server, for instances of three clouds."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import forge_azure
import pytest
from certbots import CertbotMachine, Program
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from machine import Machine
from running import CA, PROVISIONER
from stand_ins import ACCOUNT, PROJECT, RESOURCE, SUBSCRIPTION, StandIn, azure_vm, ec2, gce

from acme_iid.simulator import aws, gcp
from acme_iid.simulator.azure import Vm


@pytest.fixture
def machine(ca: CA, program: Program, tmp_path: Path) -> Iterator[CertbotMachine]:
    """An EC2 instance of the test's own."""
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        yield CertbotMachine(program, tmp_path, ca, service)


def in_cloud(name: str) -> AbstractContextManager[StandIn]:
    """A new instance."""
    return {
        "aws": lambda: ec2(aws.Instance(account=ACCOUNT)),
        "gcp": lambda: gce(gcp.Instance(project=PROJECT, instance_name="web-3")),
        "azure": lambda: azure_vm(Vm(subscription=SUBSCRIPTION), stale_nonces=1),
    }[name]()


def spki(machine: CertbotMachine, name: str) -> bytes:
    key: bytes = machine.leaf(name).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key


@pytest.mark.parametrize(
    ("cloud", "name", "kind"),
    [
        ("aws", "foo.local", "aws-rsa2048"),
        ("gcp", "web-3.vm.local", "gcp-identity"),
        ("azure", "foo.local", "azure-attested"),
    ],
)
def test_an_instance_of_each_cloud_gets_a_certificate_and_renews_it(
    ca: CA, program: Program, tmp_path: Path, cloud: str, name: str, kind: str
) -> None:
    with in_cloud(cloud) as service:
        machine = CertbotMachine(program, tmp_path, ca, service)
        machine.order(name)
        assert machine.names(name) == {name}
        events = json.loads(ca.cli("events", "--json").stdout)
        assert next(event["format"] for event in events if event["kind"].startswith("challenge.")) == kind
        first = machine.leaf(name).serial_number
        renewed = machine.renew("--force-renewal")
        assert renewed.code == 0, renewed.stdout + renewed.stderr
        assert machine.leaf(name).serial_number != first


def test_a_renewals_deploy_hook_gets_the_name_and_a_usable_trust_bundle(machine: CertbotMachine) -> None:
    hook = (
        'printf "%s %s " "$RENEWED_DOMAINS" "$RENEWED_LINEAGE" >> hooks; grep -c BEGIN "$REQUESTS_CA_BUNDLE" >> hooks'
    )
    machine.order("foo.local", options=("--deploy-hook", hook))
    assert machine.renew("--force-renewal").code == 0
    # Debian's certbot runs a deploy hook for renewals only, the newest at the first issuance, too.
    lines = (machine.folder / "hooks").read_text().splitlines()
    assert len(lines) >= 1
    for line in lines:
        domains, lineage, certificates = line.split()
        assert (domains, lineage) == ("foo.local", str(machine.live("foo.local").parent))
        assert int(certificates) > 1, "the CA is trusted besides the public ones, not instead"


def test_what_is_due_is_renewed_and_what_is_not_is_left(machine: CertbotMachine) -> None:
    machine.order("foo.local")
    first = machine.leaf("foo.local").serial_number
    if machine.program.newest:
        # Debian's renews whatever has less than 30 days left, so that a certificate for a day is always due.
        assert "not yet due" in machine.renew().stdout
        assert machine.leaf("foo.local").serial_number == first
        configuration = machine.configuration("foo.local")
        configuration.write_text("renew_before_expiry = 30 days\n" + configuration.read_text())
    done = machine.renew()
    assert done.code == 0, done.stdout + done.stderr
    assert machine.leaf("foo.local").serial_number != first


def test_a_renewal_by_an_earlier_proof_answers_no_challenge(own_ca: CA, newest: Program, tmp_path: Path) -> None:
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h")
    own_ca.start()
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        machine = CertbotMachine(newest, tmp_path, own_ca, service)
        machine.order("foo.local")
        first = machine.leaf("foo.local").serial_number
        done = machine.renew("--force-renewal")
    assert done.code == 0, done.stdout + done.stderr
    assert machine.leaf("foo.local").serial_number != first
    kinds = [event["kind"] for event in json.loads(own_ca.cli("events", "--json").stdout)]
    assert (kinds.count("challenge.valid"), kinds.count("order.proven"), kinds.count("certificate.issued")) == (1, 1, 2)


def test_an_operator_who_asks_for_a_renewal_is_heard(own_ca: CA, newest: Program, tmp_path: Path) -> None:
    own_ca.start()
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        machine = CertbotMachine(newest, tmp_path, own_ca, service)
        machine.order("foo.local")
        first = machine.leaf("foo.local").serial_number
        own_ca.cli("certificate", "renew-now", "--over", "1s")
        over = time.time() + 2
        while time.time() < over:
            time.sleep(0.1)
        done = machine.renew()
        assert done.code == 0, done.stdout + done.stderr
        assert machine.leaf("foo.local").serial_number != first


def test_a_simulated_renewal_leaves_the_certificate(machine: CertbotMachine) -> None:
    machine.order("foo.local")
    first = machine.leaf("foo.local").serial_number
    forgotten = machine.renew("--dry-run")
    assert forgotten.code == 1
    assert "Name your CA with --server" in forgotten.stdout + forgotten.stderr
    done = machine.renew("--dry-run", "--server", machine.ca.directory)
    assert done.code == 0, done.stdout + done.stderr
    assert machine.leaf("foo.local").serial_number == first


def test_a_key_is_kept_when_that_is_asked_for_and_else_made_anew(machine: CertbotMachine) -> None:
    machine.order("kept.local", options=("--reuse-key", "--key-type", "rsa", "--rsa-key-size", "3072"))
    machine.order("new.local")
    kept, new = spki(machine, "kept.local"), spki(machine, "new.local")
    key = machine.leaf("kept.local").public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072
    assert isinstance(machine.leaf("new.local").public_key(), ec.EllipticCurvePublicKey)
    assert machine.renew("--force-renewal").code == 0
    assert spki(machine, "kept.local") == kept
    assert spki(machine, "new.local") != new


def test_one_certificate_has_several_names_and_gets_another(machine: CertbotMachine) -> None:
    machine.order("a.local", "b.local", "c.b.local")
    assert machine.names("a.local") == {"a.local", "b.local", "c.b.local"}
    machine.order("a.local", "b.local", "d.local", options=("--cert-name", "a.local"))
    assert machine.names("a.local") == {"a.local", "b.local", "d.local"}


def test_a_wildcard_needs_a_rule(ca: CA, program: Program, tmp_path: Path) -> None:
    with gce(gcp.Instance(project=PROJECT, instance_name="web-4")) as service:
        machine = CertbotMachine(program, tmp_path, ca, service)
        machine.order("*.apps.local")
        assert machine.names("apps.local") == {"*.apps.local"}
        refused = machine.certonly("-d", "*.vm.local", *machine.bundle)
        assert refused.code == 1
        assert "does not give the wildcard *.vm.local" in refused.stdout + refused.stderr


def test_the_instances_address_is_certified_if_certbot_supports_addresses(
    ca: CA, program: Program, tmp_path: Path
) -> None:
    instance = aws.Instance(account=ACCOUNT)
    with ec2(instance) as service:
        machine = CertbotMachine(program, tmp_path, ca, service)
        done = machine.certonly("--ip-address", instance.private_ip, "-d", "foo.local", "--cert-name", "foo.local",
                                *machine.bundle)  # fmt: skip
        if program.newest:
            assert done.code == 0, done.stdout + done.stderr
            assert machine.names("foo.local") == {str(ipaddress.ip_address(instance.private_ip)), "foo.local"}
        else:
            assert done.code == 2
            assert "unrecognized arguments: --ip-address" in done.stderr


def test_a_revoked_certificate_is_not_simply_had_again(machine: CertbotMachine) -> None:
    machine.order("foo.local")
    done = machine.certbot("revoke", "--cert-name", "foo.local", "--no-delete-after-revoke", "--server",
                           machine.ca.directory, *machine.bundle)  # fmt: skip
    assert done.code == 0, done.stdout + done.stderr
    assert "successfully revoked" in done.stdout
    again = machine.renew("--force-renewal")
    assert again.code == 1
    assert "closed to this instance" in again.stdout + again.stderr


def test_a_provisioner_that_was_asked_for_is_remembered(machine: CertbotMachine) -> None:
    machine.order("foo.local", options=("--acme-iid-provisioner", "EC2", "--acme-iid-format", "aws-signature"))
    kept = machine.configuration("foo.local").read_text()
    assert "acme_iid_provisioner = EC2\n" in kept
    assert "acme_iid_format = aws-signature\n" in kept
    assert machine.renew("--force-renewal").code == 0
    events = json.loads(machine.ca.cli("events", "--json").stdout)
    proofs = [event["format"] for event in events if event["kind"].startswith("challenge.")]
    assert proofs[0] == "aws-signature"


def test_a_managed_identity_goes_to_the_configured_resource(ca: CA, program: Program, tmp_path: Path) -> None:
    vm = Vm(subscription=forge_azure.VM_ID, tenant=forge_azure.TENANT, name=f"vm-{program.newest}")
    with azure_vm(vm) as service:
        machine = CertbotMachine(program, tmp_path, ca, service)
        machine.order("foo.local", options=("--acme-iid-azure-resource", RESOURCE))
        assert machine.renew("--force-renewal").code == 0
        events = json.loads(ca.cli("events", "--json").stdout)
        proof = next(event for event in events if event["kind"].startswith("challenge."))
        assert proof["format"] == "azure-managed-identity"


def test_what_was_bootstrapped_for_another_ca_does_not_count(
    ca: CA, own_ca: CA, newest: Program, tmp_path: Path
) -> None:
    own_ca.start()
    with azure_vm(Vm(subscription=SUBSCRIPTION, tenant=forge_azure.TENANT, name="vm-of-two")) as service:
        machine = CertbotMachine(newest, tmp_path, ca, service)
        machine.client.bootstrap(own_ca, "--azure-resource", RESOURCE)
        done = machine.certonly("-d", "foo.local", *machine.bundle, env=machine.client.environment)
        assert done.code == 0, done.stdout + done.stderr
    assert f"acme_iid_ca_bundle = {ca.root}\n" in machine.configuration("foo.local").read_text()
    events = json.loads(ca.cli("events", "--json").stdout)
    proof = next(event for event in events if event["kind"].startswith("challenge."))
    assert proof["format"] == "azure-attested", "a token for one CA's resource is none of another CA's business"


def test_an_account_takes_the_operators_key_where_the_ca_wants_one(
    own_ca: CA, program: Program, tmp_path: Path
) -> None:
    configuration = own_ca.home / "ca.toml"
    required = '[ca]\nexternal_account_required = true\nterms_of_service = "https://ca.local/terms"\n'
    configuration.write_text(configuration.read_text().replace("[ca]\n", required))
    own_ca.start()
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        machine = CertbotMachine(program, tmp_path, own_ca, service)
        refused = machine.certonly("-d", "foo.local", *machine.bundle)
        assert refused.code == 1
        assert "Please use --eab-kid and --eab-hmac-key" in refused.stdout + refused.stderr
        key = json.loads(own_ca.cli("eab", "add", "--json").stdout)
        machine.order("foo.local", options=("--eab-kid", key["key_id"], "--eab-hmac-key", key["hmac_key"]))
        assert machine.renew("--force-renewal").code == 0


def test_a_profile_is_asked_for_by_name_and_kept(own_ca: CA, newest: Program, tmp_path: Path) -> None:
    with (own_ca.home / "ca.toml").open("a") as file:
        file.write('\n[profile.server]\ndescription = "TLS servers"\n')
        file.write('[profile.batch]\ndescription = "Jobs, for an hour"\nusages = ["client"]\nlifetime = "1h"\n')
    own_ca.start()
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        machine = CertbotMachine(newest, tmp_path, own_ca, service)
        machine.order("foo.local", options=("--preferred-profile", "batch"))
        for _ in range(2):
            leaf = machine.leaf("foo.local")
            usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            assert list(usages) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]
            assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(hours=2)
            assert machine.renew("--force-renewal").code == 0


# Trust


def test_the_root_is_remembered_wherever_renewals_run(machine: CertbotMachine) -> None:
    (machine.folder / "root.pem").write_bytes(machine.ca.root.read_bytes())
    done = machine.certonly("-d", "foo.local", "--acme-iid-ca-bundle", "root.pem")
    assert done.code == 0, done.stdout + done.stderr
    assert f"acme_iid_ca_bundle = {machine.folder / 'root.pem'}\n" in machine.configuration("foo.local").read_text()
    first = machine.leaf("foo.local").serial_number
    elsewhere = machine.folder / "elsewhere"
    elsewhere.mkdir()
    for name in ("etc", "var", "log"):
        (elsewhere / name).symlink_to(machine.folder / name)
    done = CertbotMachine(machine.program, elsewhere, machine.ca, machine.stand_in).renew("--force-renewal")
    assert done.code == 0, done.stdout + done.stderr
    assert machine.leaf("foo.local").serial_number != first


def test_what_the_clients_bootstrap_left_is_used_and_remembered(machine: CertbotMachine) -> None:
    config = machine.folder / "config"
    machine.client.bootstrap(machine.ca)
    done = machine.certonly("-d", "foo.local", env=machine.client.environment)
    assert done.code == 0, done.stdout + done.stderr
    assert (
        f"acme_iid_ca_bundle = {config / 'certs' / 'root_ca.crt'}\n" in machine.configuration("foo.local").read_text()
    )
    assert machine.renew("--force-renewal").code == 0


def test_each_ca_that_was_bootstrapped_is_known(ca: CA, own_ca: CA, debian: Program, tmp_path: Path) -> None:
    own_ca.start()
    client = Machine(tmp_path)
    for each in (own_ca, ca):
        client.bootstrap(each)
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        for each, name in ((own_ca, "a.local"), (ca, "b.local")):
            machine = CertbotMachine(debian, tmp_path, each, service)
            done = machine.certonly("-d", name, env=client.environment)
            assert done.code == 0, done.stdout + done.stderr
            assert machine.names(name) == {name}


def test_certificates_of_another_ca_are_renewed_in_the_same_run(machine: CertbotMachine, own_ca: CA) -> None:
    own_ca.start()
    other = CertbotMachine(machine.program, machine.folder, own_ca, machine.stand_in)
    trusted = {"REQUESTS_CA_BUNDLE": str(own_ca.root)}
    machine.order("a.local")
    done = other.certonly("-d", "b.local", env=trusted)
    assert done.code == 0, done.stdout + done.stderr
    first = machine.leaf("a.local").serial_number, other.leaf("b.local").serial_number
    done = machine.renew("--force-renewal", env=trusted)
    assert done.code == 0, done.stdout + done.stderr
    assert machine.leaf("a.local").serial_number != first[0]
    assert other.leaf("b.local").serial_number != first[1]


def test_a_server_that_is_not_under_the_root_is_not_spoken_to(machine: CertbotMachine, own_ca: CA) -> None:
    done = machine.certonly("-d", "foo.local", "--acme-iid-ca-bundle", own_ca.root)
    assert done.code == 1
    assert "certificate verify failed" in done.stdout + done.stderr
    assert not (machine.folder / "etc" / "live").exists()
