"""Azure evidence whose certificates cost their sender little: what a chain costs that leads nowhere."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import forge_azure
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.attestation.identity import Evidence
from acme_iid.simulator.authority import PrivateKey, key_usage, name
from acme_iid.simulator.azure import content_info, signer_info

ISSUERS = 7
"""As many as may come along with the signer."""

_MOMENT = datetime.fromtimestamp(forge_azure.NOW, UTC)
_USUAL = name("Anybody", "Test")


def chains() -> Iterator[tuple[str, Evidence]]:
    """Evidence by what is odd about the signer's issuers."""
    for bits, exponent_bits in ((3072, 3071), (8192, 64), (4096, 32), (4096, 17)):
        keys = [_rsa(bits, exponent_bits) for _ in range(4)]
        yield f"RSA {bits}, exponent of {exponent_bits} bits", _evidence(_issuers(keys))
    for curve in (ec.SECP521R1(), ec.SECP384R1()):
        keys_ = [ec.generate_private_key(curve) for _ in range(ISSUERS)]
        yield curve.name, _evidence(_issuers(keys_))
        yield f"{curve.name}, hundreds of directory names", _evidence(_issuers(keys_, directory_names=120))
    for count in (16, 150):
        long = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a") for _ in range(count)])
        yield f"names of {count} attributes", _evidence(_issuers([ec.generate_private_key(ec.SECP256R1())], long))
    extensions = [x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{number}"), b"") for number in range(200)]
    yield "200 extensions", _evidence(_issuers([ec.generate_private_key(ec.SECP256R1())], extensions=extensions))


def _rsa(bits: int, exponent_bits: int) -> rsa.RSAPrivateKey:
    """A key with an exponent of that length, of which all bits but few are set; or one as long as the modulus."""
    numbers = rsa.generate_private_key(65537, bits).private_numbers()
    phi = (numbers.p - 1) * (numbers.q - 1)
    exponent = 65537
    if exponent_bits >= bits - 1:
        exponent = pow(65537, -1, phi)
    elif exponent_bits > 17:
        exponent = (1 << exponent_bits) - 1
        while math.gcd(exponent, phi) != 1:
            exponent -= 2
    secret = pow(exponent, -1, phi)
    public = rsa.RSAPublicNumbers(exponent, numbers.p * numbers.q)
    private = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, secret, secret % (numbers.p - 1), secret % (numbers.q - 1), numbers.iqmp, public
    )
    return private.private_key(unsafe_skip_rsa_key_validation=True)


def _issuers(
    keys: Sequence[PrivateKey],
    called: x509.Name = _USUAL,
    *,
    directory_names: int = 0,
    extensions: Sequence[x509.ExtensionType] = (),
) -> list[x509.Certificate]:
    """The signer's certificate, and issuers of one name of which each was issued by the next."""
    of = [keys[number % len(keys)] for number in range(ISSUERS + 1)]
    more = list(extensions)
    if directory_names:
        entry = x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")]))
        more.append(x509.SubjectAlternativeName([entry] * directory_names))
    signer = _certificate(name("Signer", "Test"), called, forge_azure.signing_key(), of[0], 1, _names())
    return [
        signer,
        *(_certificate(called, called, of[number], of[number + 1], number + 2, more) for number in range(ISSUERS)),
    ]


def _names() -> list[x509.ExtensionType]:
    return [x509.SubjectAlternativeName([x509.DNSName(entry) for entry in forge_azure.names()])]


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    by: PrivateKey,
    serial: int,
    extensions: Sequence[x509.ExtensionType],
) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer, subject, key.public_key(), serial, _MOMENT.replace(year=2020), _MOMENT.replace(year=2040)
    )
    usual = (
        x509.BasicConstraints(ca=serial > 1, path_length=None),
        key_usage(signatures=True, certificates=serial > 1),
    )
    for extension in (*usual, *extensions):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(by, SHA256())


def _evidence(certificates: list[x509.Certificate]) -> Evidence:
    """The signer attached, the others beside it, where no limit on a CMS's values counts them."""
    leaf, *others = certificates
    content = content_info(forge_azure.document(), [leaf], signer_info(leaf, b"no signature"))
    text = "".join(entry.public_bytes(Encoding.PEM).decode() for entry in others)
    return Evidence("azure-attested", {"evidence": base64.b64encode(content).decode(), "intermediates": text})
