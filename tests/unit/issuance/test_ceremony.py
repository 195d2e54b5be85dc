"""What a root's key signs, as OpenSSL sees it: intermediates with their constraints, requests, and links of roots."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence
from pathlib import Path

import forged_leaves
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from acme_iid.issuance import ceremony, keys
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.name_constraints import PRIVATE_NETWORKS, constraints, described
from acme_iid.protocol.identifiers import dns, ip

NOW = 1_800_000_000
DAY = 86400


def verify(folder: Path, root: x509.Certificate, leaf: x509.Certificate, *between: x509.Certificate) -> str:
    return forged_leaves.verify(folder, NOW, root, leaf, *between)


def forged(signer: Signer, *names: x509.GeneralName) -> x509.Certificate:
    return forged_leaves.forged(signer, NOW, *names)


def constrained(networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> tuple[Signer, Signer]:
    root = ceremony.create_root("My CA", NOW)
    limits = constraints(["local"], networks, [dns("ca.example.org"), dns("localhost")])
    return root, ceremony.create_intermediate(root, "My CA", NOW, constraints=limits)


PERMITTED = [
    x509.DNSName("foo.local"), x509.DNSName("local"), x509.DNSName("*.foo.local"), x509.DNSName("localhost"),
    x509.DNSName("ca.example.org"), x509.DNSName("ip-10-0-0-1.eu-west-1.compute.internal"),
    x509.DNSName("vm.c.project.internal"), x509.DNSName("vm.internal.cloudapp.net"),
]  # fmt: skip
CLOSED = [
    x509.DNSName("foo.example"), x509.DNSName("notlocal"), x509.DNSName("*.example"),
    x509.DNSName("i-0123456789abcdef0"), x509.DNSName("example.org"), x509.UniformResourceIdentifier("https://foo.local/x"),
    x509.UniformResourceIdentifier("https://192.0.2.1/x"), x509.UniformResourceIdentifier("https://10.0.0.1/x"),
]  # fmt: skip
PRIVATE = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("10.1.2.3", "172.31.0.1", "192.168.0.9", "fd00::1")]
PUBLIC = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("192.0.2.1", "172.32.0.1", "2001:db8::1", "::1")]


def test_the_intermediate_vouches_for_what_it_permits_alone(tmp_path: Path) -> None:
    root, intermediate = constrained(PRIVATE_NETWORKS)
    for name in (*PERMITTED, *PRIVATE):
        assert verify(tmp_path, root.certificate, forged(intermediate, name), intermediate.certificate) == "", name
    for name in (*CLOSED, *PUBLIC):
        said = verify(tmp_path, root.certificate, forged(intermediate, name), intermediate.certificate)
        assert "subtree" in said or "unsupported name" in said, name


def test_without_a_permitted_network_every_address_is_closed(tmp_path: Path) -> None:
    root, intermediate = constrained([])
    for address in (*PRIVATE, *PUBLIC):
        said = verify(tmp_path, root.certificate, forged(intermediate, address), intermediate.certificate)
        assert "excluded subtree" in said, address
    assert verify(tmp_path, root.certificate, forged(intermediate, *PERMITTED), intermediate.certificate) == ""


def test_a_server_that_is_an_address_is_permitted_and_no_other(tmp_path: Path) -> None:
    root = ceremony.create_root("My CA", NOW)
    limits = constraints(["local"], (), [ip("192.0.2.7")])
    intermediate = ceremony.create_intermediate(root, "My CA", NOW, constraints=limits)
    own, other = (x509.IPAddress(ipaddress.ip_address(text)) for text in ("192.0.2.7", "192.0.2.8"))
    assert verify(tmp_path, root.certificate, forged(intermediate, own), intermediate.certificate) == ""
    assert "permitted" in verify(tmp_path, root.certificate, forged(intermediate, other), intermediate.certificate)
    assert described(intermediate.certificate)[-2:] == ["+192.0.2.7/32", "+uri.invalid"]


def test_what_others_cover_stands_once() -> None:
    limits = constraints(
        ["internal", "a.internal", "local", "local"],
        [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("10.1.0.0/16")],
    )
    shown = [str(name.value) for name in limits.permitted_subtrees or ()]
    assert shown == ["internal", "local", "internal.cloudapp.net", "10.0.0.0/8", "uri.invalid"]


def test_a_root_may_be_constrained_too(tmp_path: Path) -> None:
    limits = constraints(["local"], ())
    root = ceremony.create_root("My CA", NOW, constraints=limits)
    intermediate = ceremony.create_intermediate(root, "My CA", NOW)
    assert described(root.certificate)
    assert not described(intermediate.certificate)
    good, bad = (forged(intermediate, x509.DNSName(text)) for text in ("foo.local", "foo.example"))
    assert verify(tmp_path, root.certificate, good, intermediate.certificate) == ""
    assert verify(tmp_path, root.certificate, bad, intermediate.certificate) != ""


@pytest.mark.parametrize("key_type", ceremony.KEY_TYPES)
def test_each_kind_of_key_signs(tmp_path: Path, key_type: str) -> None:
    root = ceremony.create_root("My CA", NOW, ceremony.generate(key_type))
    intermediate = ceremony.create_intermediate(root, "My CA", NOW)
    assert verify(tmp_path, root.certificate, intermediate.certificate) == ""


def test_an_intermediate_ends_with_its_root_at_the_latest() -> None:
    root = ceremony.create_root("My CA", NOW, lifetime=100 * DAY)
    intermediate = ceremony.create_intermediate(root, "My CA", NOW, lifetime=200 * DAY)
    assert intermediate.certificate.not_valid_after_utc == root.certificate.not_valid_after_utc


def test_a_request_asks_for_what_the_certificate_should_say(tmp_path: Path) -> None:
    key = keys.generate()
    request = ceremony.request("My CA", key, constraints(["local"], ()))
    (tmp_path / "csr").write_bytes(request.public_bytes(Encoding.PEM))
    done = subprocess.run(
        ["openssl", "req", "-in", str(tmp_path / "csr"), "-verify", "-noout", "-text"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for expected in ("CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "DNS:local", "URI:uri.invalid"):
        assert expected in done.stdout


def test_under_a_link_clients_of_either_root_take_the_leaf(tmp_path: Path) -> None:
    old, new = (ceremony.create_root("My CA", NOW) for _ in range(2))
    link = ceremony.link(old, new.certificate, NOW)
    intermediate = ceremony.create_intermediate(new, "My CA", NOW)
    leaf = forged(intermediate, x509.DNSName("foo.local"))
    between = (intermediate.certificate, link)
    assert verify(tmp_path, old.certificate, leaf, *between) == ""
    assert verify(tmp_path, new.certificate, leaf, *between) == ""
    assert verify(tmp_path, old.certificate, leaf, intermediate.certificate) != ""
    assert (link.subject, link.public_key()) == (new.certificate.subject, new.key.public_key())


def test_two_roots_of_one_ca_have_names_of_their_own() -> None:
    first, second = (ceremony.create_root("My CA", NOW).certificate.subject for _ in range(2))
    assert first != second
    for subject in (first, second):
        (common,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert common.value == "My Root CA"


def test_a_link_is_refused_where_clients_would_not_take_it() -> None:
    same = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root")])
    old, new = (ceremony.create_root("My CA", NOW, itself=same) for _ in range(2))
    with pytest.raises(CAFileError, match="both roots have one subject"):
        ceremony.link(old, new.certificate, NOW)
    intermediate = ceremony.create_intermediate(old, "My CA", NOW)
    with pytest.raises(CAFileError, match="no self-signed CA certificate"):
        ceremony.link(old, intermediate.certificate, NOW)
    with pytest.raises(CAFileError, match="path length 0"):
        ceremony.link(intermediate, ceremony.create_root("My CA", NOW).certificate, NOW)
    other = ceremony.create_root("My CA", NOW)
    with pytest.raises(CAFileError, match="not the key of its certificate"):
        ceremony.link(Signer(old.certificate, other.key), other.certificate, NOW)
    with pytest.raises(CAFileError, match="has run out"):
        ceremony.link(old, other.certificate, NOW + ceremony.ROOT_LIFETIME)
