from __future__ import annotations

import subprocess

import pytest

from acme_iid.issuance import provisioner_extension
from acme_iid.policy.clouds import of_cloud


def test_openssl_reads_the_type_the_name_and_the_credential() -> None:
    value = provisioner_extension.extension(4, "AWS IID Provisioner", "123456789042").value
    assert value == bytes.fromhex("3026 020104 0413") + b"AWS IID Provisioner" + bytes.fromhex("040c") + b"123456789042"
    done = subprocess.run(
        ["openssl", "asn1parse", "-inform", "DER"], input=value, capture_output=True, check=True
    ).stdout.decode()
    kinds = [line.partition(": ")[2].split(":")[0].split()[0] for line in done.splitlines()]
    assert kinds == ["SEQUENCE", "INTEGER", "OCTET", "OCTET"]
    assert ":AWS IID Provisioner" in done
    assert ":123456789042" in done


def test_it_is_known_by_step_cas_number() -> None:
    assert provisioner_extension.extension(4, "x", "y").oid.dotted_string == "1.3.6.1.4.1.37476.9000.64.1"


@pytest.mark.parametrize(("cloud", "number"), [("gcp", 3), ("aws", 4), ("azure", 5)])
def test_each_cloud_has_its_number(cloud: str, number: int) -> None:
    assert of_cloud(cloud).extension_number == number
    assert provisioner_extension.HOST_NUMBER == 6
    assert provisioner_extension.extension(number, "", "").value == bytes([0x30, 7, 2, 1, number, 4, 0, 4, 0])


@pytest.mark.parametrize("length", [0, 1, 119, 120, 127, 128, 255, 256, 65535, 65536])
def test_every_length_is_der(length: int) -> None:
    value = provisioner_extension.extension(4, "n" * length, "é" * length).value
    done = subprocess.run(
        ["openssl", "asn1parse", "-inform", "DER", "-dump"], input=value, capture_output=True, check=True
    )
    lengths = [int(line.split(b" l=")[1].split()[0]) for line in done.stdout.splitlines() if b" l=" in line]
    assert lengths[1:] == [1, length, 2 * length]
    headers = [int(line.split(b"hl=")[1].split()[0]) for line in done.stdout.splitlines() if b"hl=" in line]
    # Minimal headers: tag, then one octet below 128, else one more for each octet of the length (X.690 section 10.1).
    assert headers == [2 if n < 128 else 2 + (n.bit_length() + 7) // 8 for n in lengths]
