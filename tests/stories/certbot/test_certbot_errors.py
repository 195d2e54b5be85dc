"""What certbot's user reads when something is missing, and what to do about it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripted_ca
from certbots import CertbotMachine, Program
from ports import free_port
from running import CA, Outcome
from stand_ins import ACCOUNT, StandIn, ec2, gce

from acme_iid.simulator import aws, gcp


@pytest.fixture
def machine(ca: CA, program: Program, tmp_path: Path) -> Iterator[CertbotMachine]:
    """An EC2 instance of the test's own."""
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        yield CertbotMachine(program, tmp_path, ca, service)


def said(done: Outcome) -> str:
    """What a run that failed has said, in one line."""
    assert done.code != 0, done.stdout
    return " ".join((done.stdout + done.stderr).split())


def test_a_machine_in_no_cloud_is_told_so(ca: CA, program: Program, tmp_path: Path) -> None:
    machine = CertbotMachine(program, tmp_path, ca, StandIn(f"http://127.0.0.1:{free_port()}"))
    text = said(machine.certonly("-d", "foo.local", *machine.bundle))
    assert "the connection is refused. This machine does not seem to be a cloud instance" in text
    assert "--acme-iid-metadata-url names another address." in text


def test_a_name_that_no_rule_gives_is_refused_with_the_rules(ca: CA, program: Program, tmp_path: Path) -> None:
    with gce(gcp.Instance(project="my-project", instance_name="web-5")) as service:
        machine = CertbotMachine(program, tmp_path, ca, service)
        text = said(machine.certonly("-d", "web-6.vm.local", *machine.bundle))
    assert "does not give web-6.vm.local" in text
    assert "Hint: The reason above is the CA's. Its operator sees every decision with 'acme-iid-ca events'" in text


def test_a_name_outside_the_cas_domains_is_refused_with_the_domains(machine: CertbotMachine) -> None:
    text = said(machine.certonly("-d", "foo.example", *machine.bundle))
    # With Python 3.11, Debian's certbot fails at the refusal of an order itself, and has the reason in its log only.
    log = (machine.folder / "log" / "letsencrypt.log").read_text()
    assert "foo.example is outside this CA's domains (local)" in (text if machine.program.newest else log)


def test_the_printed_command_lets_an_instance_of_another_key_in(machine: CertbotMachine, tmp_path: Path) -> None:
    machine.order("foo.local")
    rebuilt = tmp_path / "rebuilt"
    rebuilt.mkdir()
    second = CertbotMachine(machine.program, rebuilt, machine.ca, machine.stand_in)
    text = said(second.certonly("-d", "foo.local", *machine.bundle))
    assert "this instance belongs to another account key" in text
    assert "Hint: certbot's account key is not the one that this instance was first proven with" in text
    command = text.split("an operator lets this one in with: acme-iid-ca ")[1].split()[:5]
    machine.ca.cli(*command)
    second.order("foo.local")


def test_a_server_without_the_cas_mark_gets_no_evidence(machine: CertbotMachine, tmp_path: Path) -> None:
    assert machine.stand_in is not None
    with scripted_ca.serve(tmp_path, marked=False) as other:
        root = tmp_path / "root.pem"
        root.write_bytes(other.root.pem)
        options = ("--authenticator", "acme-iid", "--agree-tos", "--register-unsafely-without-email", "-d", "foo.local")
        places = ("--server", f"{other.url}/acme/directory", "--acme-iid-ca-bundle", root)
        stand_in = ("--acme-iid-metadata-url", machine.stand_in.url)
        text = said(machine.certbot("certonly", *options, *places, *stand_in))
    assert "lacks the mark of the CA's own servers" in text
    assert "/acme/authz/1" in other.paths()
    assert "/acme/challenge/1" not in other.paths()


def test_an_account_key_that_came_with_a_copied_disk_is_not_used(
    ca: CA, program: Program, machine: CertbotMachine, tmp_path: Path
) -> None:
    machine.order("foo.local")
    copy = tmp_path / "copy"
    for name in ("etc", "var", "log"):
        shutil.copytree(machine.folder / name, copy / name, symlinks=True)
    for configuration in (copy / "etc" / "renewal").iterdir():
        configuration.write_text(configuration.read_text().replace(str(machine.folder), str(copy)))
    instance = aws.Instance(account=ACCOUNT)
    with ec2(instance) as service:
        second = CertbotMachine(program, copy, ca, service)
        text = said(second.renew("--force-renewal", "--acme-iid-metadata-url", service.url))
        assert f"This machine is aws:{instance.instance_id}, and certbot's account key was first used on aws:i-" in text
        before = json.loads(ca.cli("instance", "list", "--json").stdout)
        assert not [known for known in before if instance.instance_id in known["instance"]], "nothing was sent"
        folder = text.split("the disk is a copy. Delete ")[1].split()[0]
        shutil.rmtree(folder)
        second.order("foo.local", options=("--force-renewal",))
        assert second.renew("--force-renewal").code == 0
    assert machine.renew("--force-renewal").code == 0


def test_evidence_that_the_ca_does_not_take_is_named(machine: CertbotMachine) -> None:
    text = said(machine.certonly("-d", "foo.local", "--acme-iid-format", "aws-pkcs7", *machine.bundle))
    assert "The CA accepts " in text
    assert "for foo.local, and not aws-pkcs7, which was asked for." in text


def test_a_cloud_that_the_ca_does_not_know_is_named(shared_ca: CA, program: Program, tmp_path: Path) -> None:
    with gce(gcp.Instance()) as service:
        machine = CertbotMachine(program, tmp_path, shared_ca, service)
        text = said(machine.certonly("-d", "foo.local", *machine.bundle))
    assert "The CA accepts aws-rsa2048, aws-signature for foo.local." in text
    assert "This machine (GCP) can give gcp-identity." in text


def test_an_unknown_provisioner_is_refused(machine: CertbotMachine) -> None:
    text = said(machine.certonly("-d", "foo.local", "--acme-iid-provisioner", "nobody", *machine.bundle))
    assert "nobody" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--acme-iid-ca-bundle", "nothing.pem"), "nothing.pem cannot be read (No such file or directory)"),
        (("--acme-iid-ca-bundle", "notes.txt"), "notes.txt is not a file with root certificates in PEM"),
        (("--acme-iid-format", "aws"), "invalid choice: 'aws' (choose from"),
        (("--acme-iid-azure-resource", "https://vault.azure.net"), "is not a resource of the CA's own"),
    ],
)
def test_an_option_that_cannot_be_meant_is_said_so(
    machine: CertbotMachine, options: tuple[str, str], message: str
) -> None:
    (machine.folder / "notes.txt").write_text("nothing\n")
    done = machine.certonly("-d", "foo.local", *options)
    assert done.code == 2
    assert message in said(done)


def test_a_root_that_has_gone_since_is_named_at_the_renewal(machine: CertbotMachine) -> None:
    root = machine.folder / "root.pem"
    root.write_bytes(machine.ca.root.read_bytes())
    assert machine.certonly("-d", "foo.local", "--acme-iid-ca-bundle", root).code == 0
    root.unlink()
    assert f"{root} cannot be read (No such file or directory)" in said(machine.renew("--force-renewal"))


def test_lets_encrypt_is_not_asked_for_what_it_does_not_know(machine: CertbotMachine) -> None:
    text = said(machine.certbot("certonly", "--authenticator", "acme-iid", "-d", "foo.local", "--agree-tos",
                                "--register-unsafely-without-email"))  # fmt: skip
    assert "Let's Encrypt does not know the challenge iid-01. Name your CA with --server" in text
    assert not list((machine.folder / "etc").rglob("regr.json"))


def test_a_bundle_that_is_a_directory_is_said_to_be_none(machine: CertbotMachine) -> None:
    done = machine.certonly("-d", "foo.local", *machine.bundle, env={"REQUESTS_CA_BUNDLE": "/etc/ssl/certs"})
    assert "names the directory /etc/ssl/certs; with the acme-iid plugin it has to name a file." in said(done)


def test_the_plugin_says_what_it_does(machine: CertbotMachine) -> None:
    listed = machine.certbot("plugins", "--prepare").stdout
    assert "* acme-iid" in listed
    assert "Prove which cloud instance this machine is" in " ".join(listed.split())
    helped = machine.certbot("--help", "acme-iid").stdout
    for option in ("ca-bundle", "metadata-url", "azure-resource", "provisioner", "format"):
        assert f"--acme-iid-{option}" in helped


def test_the_commands_say_that_debians_libraries_are_too_old_for_them(debian: Program) -> None:
    done = subprocess.run(
        [debian.python, "-m", "acme_iid_client", "health"], env=debian.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 12
    assert "acme-iid's commands need acme 5 or newer, and this Python has 2.1.0." in done.stderr
    assert "Traceback" not in done.stderr
