"""The article's commands, each typed as its counterpart here, by a CA's operator and on a VM."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import forge
import pytest
from ports import free_port
from running import ACCOUNT, CA, Outcome

from acme_iid.simulator import aws
from acme_iid.simulator.server import serve

BIN = Path(sys.executable).parent


@dataclass
class Shell:
    """Somebody at a shell, who has the programs on the PATH."""

    folder: Path
    env: dict[str, str]

    def try_(self, text: str) -> Outcome:
        """Type a command, whatever comes of it."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_PROXY": "*", **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    def type(self, text: str) -> Outcome:
        """Type a command, which must succeed."""
        done = self.try_(text)
        assert done.code == 0, done.stderr
        return done


@dataclass
class Scene:
    """The CA's host and the VM.

    :ivar ca: the CA that the operator has made, and its server.
    """

    operator: Shell
    vm: Shell
    ca: CA
    instance: aws.Instance


@pytest.fixture
def scene(tmp_path: Path, instance: aws.Instance) -> Iterator[Scene]:
    """A CA as its operator sets it up, and a VM that trusts it."""
    ca = CA(tmp_path / "ca", free_port())
    for name in ("operator", "vm"):
        (tmp_path / name).mkdir()
    operator = Shell(tmp_path / "operator", {"ACME_IID_CA_HOME": str(ca.home)})
    (operator.folder / "simulator.pem").write_bytes(forge.keys().certificates)
    operator.type(f"acme-iid-ca init --name 'My CA' --domain local --url {ca.url} --listen 127.0.0.1:{ca.port}")
    operator.type(
        f'acme-iid-ca provisioner add "AWS IID Provisioner" --type AWS --aws-account {ACCOUNT} '
        "--iid-roots simulator.pem"
    )
    ca.start()
    with serve(aws.tree(instance, forge.keys())) as metadata:
        places = {name: str(tmp_path / "vm" / name) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME")}
        vm = Shell(tmp_path / "vm", {**places, "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url})
        yield Scene(operator, vm, ca, instance)
    ca.kill()


def bootstrap(scene: Scene) -> None:
    fingerprint = scene.operator.type("acme-iid-ca fingerprint").stdout.strip()
    assert re.fullmatch("[0-9a-f]{64}", fingerprint)
    said = scene.vm.type(f"acme-iid bootstrap --ca-url {scene.ca.url} --fingerprint {fingerprint}").stdout
    config = f"{scene.vm.env['XDG_CONFIG_HOME']}/acme-iid"
    assert said == (
        f"The root certificate has been saved in {config}/certs/root_ca.crt.\n"
        f"The authority configuration has been saved in {config}/authority.json.\n"
    )


def achieved(scene: Scene, stem: str) -> str:
    return (
        "✔ Provisioner: AWS IID Provisioner (AWS)\n"
        f"✔ CA: {scene.ca.url}\n"
        f"✔ Certificate: {stem}.crt\n"
        f"✔ Private Key: {stem}.key\n"
    )


def serial_of(scene: Scene, file: str) -> str:
    """A certificate's serial number in decimal, as openssl reads it."""
    return str(int(scene.vm.type(f"openssl x509 -in {file} -noout -serial").stdout.strip().removeprefix("serial="), 16))


def short(scene: Scene, file: str, *subject: str) -> str:
    """What inspect --short prints, with the times as openssl reads them."""
    serial = serial_of(scene, file)
    times = [
        scene.vm.type(f'date -u +%FT%TZ -d "$(openssl x509 -in {file} -noout -{which} | cut -d= -f2)"').stdout.strip()
        for which in ("startdate", "enddate")
    ]
    more = "".join(f"               {name}\n" for name in subject[1:])
    return (
        f"X.509v3 TLS Certificate (ECDSA P-256) [Serial: {serial[:4]}...{serial[-4:]}]\n"
        f"  Subject:     {subject[0]}\n{more}"
        "  Issuer:      My Intermediate CA\n"
        "  Provisioner: AWS IID Provisioner [ID: 1234...9042]\n"
        f"  Valid from:  {times[0]}\n"
        f"          to:  {times[1]}\n"
    )


def test_three_commands_get_a_certificate(scene: Scene) -> None:
    bootstrap(scene)
    done = scene.vm.type('acme-iid order foo.local foo.crt foo.key --provisioner "AWS IID Provisioner"')
    assert (done.stdout, done.stderr) == ("", achieved(scene, "foo"))
    assert scene.vm.type("acme-iid inspect --short foo.crt").stdout == short(scene, "foo.crt", "foo.local")


def test_the_fingerprint_of_the_root_is_what_openssl_says_it_is(scene: Scene) -> None:
    bootstrap(scene)
    root = f"{scene.vm.env['XDG_CONFIG_HOME']}/acme-iid/certs/root_ca.crt"
    printed = scene.vm.type(f"openssl x509 -in {root} -noout -fingerprint -sha256").stdout
    digits = printed.strip().partition("=")[2].replace(":", "").lower()
    assert scene.vm.type(f"acme-iid fingerprint {root}").stdout == f"{digits}\n"
    assert scene.vm.type(f"acme-iid fingerprint - < {root}").stdout == f"{digits}\n"
    assert scene.vm.type("acme-iid health").stdout == "ok\n"


def test_openssl_reads_what_is_written_and_finds_the_provisioner(scene: Scene) -> None:
    bootstrap(scene)
    scene.vm.type("acme-iid order foo.local foo.crt foo.key")
    assert "BEGIN PRIVATE KEY" in scene.vm.type("openssl pkey -in foo.key -check").stdout
    same = "openssl x509 -in foo.crt -noout -pubkey | diff - <(openssl pkey -in foo.key -pubout)"
    assert scene.vm.type(same).stdout == ""
    verified = scene.vm.type(
        "openssl verify -x509_strict -CAfile $XDG_CONFIG_HOME/acme-iid/certs/root_ca.crt -untrusted foo.crt foo.crt"
    )
    assert verified.stdout == "foo.crt: OK\n"
    # The value of the extension stands in an OCTET STRING below its number.
    parsed = scene.vm.type("openssl x509 -in foo.crt -outform DER | openssl asn1parse -inform DER").stdout.splitlines()
    here = next(number for number, line in enumerate(parsed) if ":1.3.6.1.4.1.37476.9000.64.1" in line)
    offset = re.match(r" *(\d+):.*OCTET STRING", parsed[here + 1])
    assert offset is not None
    inner = scene.vm.type(
        f"openssl x509 -in foo.crt -outform DER | openssl asn1parse -inform DER -strparse {offset[1]}"
    ).stdout.splitlines()
    fields = [re.split(r"prim: |cons: ", line)[1] for line in inner]
    assert [re.sub(" +", " ", field).strip() for field in fields] == [
        "SEQUENCE", "INTEGER :04", "OCTET STRING :AWS IID Provisioner", f"OCTET STRING :{ACCOUNT}",
    ]  # fmt: skip
    listed = scene.vm.type("acme-iid inspect foo.crt").stdout
    assert "  Provisioner:   AWS IID Provisioner (AWS)\n" in listed
    assert f"  Credential ID: {ACCOUNT}\n" in listed


def test_a_second_certificate_goes_to_the_same_key_and_to_no_other(scene: Scene) -> None:
    bootstrap(scene)
    scene.vm.type("acme-iid order foo.local foo.crt foo.key")
    assert scene.vm.type("acme-iid order bar.local bar.crt bar.key").stderr == achieved(scene, "bar")
    # Another user of the VM can fetch the same document, and has another account key.
    other = Shell(scene.vm.folder, {**scene.vm.env, "XDG_STATE_HOME": str(scene.vm.folder / "other")})
    refused = other.try_("acme-iid order baz.local baz.crt baz.key")
    assert refused.code >= 10
    assert "belongs to another account key since its first use" in refused.stderr
    assert "✔" not in refused.stderr
    assert not (scene.vm.folder / "baz.crt").exists()
    assert not (scene.vm.folder / "baz.key").exists()


def test_without_custom_names_an_instance_gets_its_own_and_no_other(scene: Scene) -> None:
    bootstrap(scene)
    scene.operator.type('acme-iid-ca provisioner update "AWS IID Provisioner" --disable-custom-sans')
    assert scene.ca.process is not None
    scene.ca.stop()
    scene.ca.start()
    metadata = "$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest"
    token = f'curl -s -X PUT {metadata}/api/token -H "X-aws-ec2-metadata-token-ttl-seconds: 60"'
    done = scene.vm.type(
        f'NAME=$(curl -s {metadata}/meta-data/instance-id -H "X-aws-ec2-metadata-token: $({token})")\n'
        'acme-iid order $NAME vm.crt vm.key --provisioner "AWS IID Provisioner"'
    )
    assert achieved(scene, "vm") in done.stderr
    assert "a CA with name constraints offers none" in done.stderr
    own = scene.instance.private_name, scene.instance.private_ip
    assert scene.vm.type("acme-iid inspect --short vm.crt").stdout == short(scene, "vm.crt", *own)
    refused = scene.vm.try_("acme-iid order foo.local foo.crt foo.key")
    assert refused.code >= 10
    assert "foo.local" in refused.stderr
    assert not (scene.vm.folder / "foo.crt").exists()


def test_a_certificate_is_renewed_until_it_is_revoked(scene: Scene) -> None:
    bootstrap(scene)
    scene.vm.type("acme-iid order foo.local foo.crt foo.key")
    first = serial_of(scene, "foo.crt")
    early = scene.vm.type("acme-iid renew foo.crt foo.key")
    assert "foo.crt expires at " in early.stdout + early.stderr
    assert serial_of(scene, "foo.crt") == first
    assert scene.vm.try_("acme-iid needs-renewal foo.crt").code == 1
    renewed = scene.vm.type("acme-iid renew --force foo.crt foo.key")
    assert renewed.stdout == "Your certificate has been saved in foo.crt.\n"
    second = serial_of(scene, "foo.crt")
    assert second != first
    revoked = scene.vm.type("acme-iid revoke --cert foo.crt --key foo.key")
    assert revoked.stdout == f"Certificate with Serial Number {second} has been revoked.\n"
    refused = scene.vm.try_("acme-iid renew --force foo.crt foo.key")
    assert refused.code >= 10
    assert "Error: " in refused.stderr
    assert "closed to this instance" in refused.stderr
    assert serial_of(scene, "foo.crt") == second


def test_a_process_gets_its_signal_after_a_renewal(scene: Scene) -> None:
    bootstrap(scene)
    scene.vm.type("acme-iid order foo.local foo.crt foo.key")
    # Whoever started the tests may have had SIGHUP ignored (nohup), and programs inherit that.
    with subprocess.Popen(["env", "--default-signal=HUP", "sleep", "60"]) as waiting:
        scene.vm.type(f'acme-iid renew --force --exec "kill -HUP {waiting.pid}" foo.crt foo.key')
        assert waiting.wait(timeout=30) == -signal.SIGHUP


def test_the_token_of_a_gcp_instance_is_fetched_and_verified_by_hand(tmp_path: Path) -> None:
    with subprocess.Popen(
        [BIN / "acme-iid-ca", "metadata", "--cloud", "gcp", "--project", "step-instance-identity-test",
         "--jwks-out", "keys.json"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    ) as metadata:  # fmt: skip
        assert metadata.stdout is not None
        url = metadata.stdout.readline().removeprefix("Metadata service: ").strip()
        path = "computeMetadata/v1/instance/service-accounts/default/identity?audience=step-cli&format=full"
        shell = Shell(tmp_path, {})
        done = shell.type(
            f'curl -s -H "Metadata-Flavor: Google" {shlex.quote(f"{url}/{path}")} | acme-iid verify --jwks keys.json'
        )
        metadata.terminate()
    assert "step-instance-identity-test" in done.stdout
    assert "step-cli" in done.stdout
