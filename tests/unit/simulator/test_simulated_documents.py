"""The documents that the simulator makes for EC2 instances: as AWS makes them, with keys that are kept."""

from __future__ import annotations

import base64
import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import forge
import pytest
from trusting import trusting

from acme_iid.attestation import asn1
from acme_iid.attestation.asn1 import Node
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.simulator import cms
from acme_iid.simulator.aws import Instance, Keys


def _sample(samples: Path, name: str) -> tuple[bytes, bytes]:
    sample = json.loads((samples / name).read_bytes())
    return sample["document"].encode(), base64.b64decode(sample["signature"])


FLAWS = Instance(
    account="975426262029",
    region="us-west-2",
    instance_id="i-05bef8a081f307783",
    image="ami-7c803d1c",
    instance_type="t2.micro",
    private_ip="172.31.41.84",
    pending_time=1486938564,
)


def test_a_document_is_what_aws_writes_for_the_same_instance(samples: Path) -> None:
    assert FLAWS.document == _sample(samples, "aws-rsa2048-flaws.json")[0]


@pytest.mark.parametrize("name", ["rsa2048", "dsa"])
def test_signed_data_equals_what_aws_makes_but_for_serial_and_signature(samples: Path, name: str) -> None:
    file = {"rsa2048": "aws-rsa2048-flaws.json", "dsa": "aws-pkcs7-dsa-flaws.json"}[name]
    content, real = _sample(samples, file)
    ours = cms.signed_data(content, getattr(forge.keys(), name), 1624361306)

    def shape(node: Node, path: str = "") -> list[tuple[str, bool, bytes]]:
        here = f"{path}/{node.tag:02x}"
        value = b"" if node.constructed else node.value
        # The serial number is the only INTEGER of nine octets; the signature is the last OCTET STRING.
        if node.tag == asn1.INTEGER and len(value) == 9:
            value = b"serial"
        inner = [row for child in node.children for row in shape(child, here)]
        return [(here, node.indefinite, value), *inner]

    theirs, made = shape(asn1.parse(real)), shape(asn1.parse(ours))
    assert theirs[-1][:2] == made[-1][:2]
    assert theirs[:-1] == made[:-1]
    if name == "rsa2048":
        assert len(real) == len(ours)


def test_keys_in_a_directory_are_made_once_and_kept_private(tmp_path: Path) -> None:
    folder = tmp_path / "simulator" / "keys"
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(Keys.open, [folder] * 4))
    assert {keys.certificates for keys in opened} == {Keys.open(folder).certificates}
    assert {path.name for path in folder.iterdir()} == {"rsa2048.pem", "rsa1024.pem", "dsa.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    content = forge.document()
    evidence = forge.aws_rsa2048(content, opened[0].rsa2048)
    trust = trusting({"mine": opened[-1].certificates})
    assert VERIFIERS["aws-rsa2048"].authenticate(evidence, trust, 0).content == content


@pytest.mark.parametrize("spoil", ["empty", "another key"])
def test_a_file_that_holds_no_key_of_the_simulators_is_named(tmp_path: Path, spoil: str) -> None:
    Keys.open(tmp_path)
    Keys.open(tmp_path / "other")
    mine, other = (tmp_path / "rsa1024.pem"), (tmp_path / "other" / "rsa1024.pem")
    end = b"-----END PRIVATE KEY-----\n"
    theirs = other.read_bytes().partition(end)[2]
    mine.write_bytes(b"" if spoil == "empty" else mine.read_bytes().partition(end)[0] + end + theirs)
    with pytest.raises(ValueError, match=r"rsa1024\.pem does not hold .*; remove it"):
        Keys.open(tmp_path)


def test_instances_are_each_their_own_and_started_just_now() -> None:
    one, two = Instance(), Instance()
    assert one.instance_id != two.instance_id
    assert abs(one.pending_time - time.time()) < 60
