"""A CSR at finalize: its names are the order's, its key is strong and its own (RFC 8555 section 7.4).

Only the names and the key are taken from a CSR. All else that it asks for (key usages, extended key
usages, must-staple, further subject attributes, any other extension) is left out of the certificate,
because the CA decides its contents. A CSR that asks to become a CA is refused: its sender would get
something else than that.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol import der, jwk
from acme_iid.protocol import identifiers as names
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.public_keys import CERTIFIED, KeyPolicy, PublicKey

MAX_BYTES = 8 * 1024
"""The size a CSR may have, octets of DER."""

_SMALL_PRIMES = math.prod(n for n in range(3, 752) if all(n % divisor for divisor in range(2, math.isqrt(n) + 1)))
# Primes that the ROCA library makes are powers of 65537 modulo each small prime, and so are products of them. That a
# sound modulus is one for all of these primes happens about once in 2^27 keys.
_ROCA = {
    prime: frozenset(pow(65537, power, prime) for power in range(prime - 1))
    for prime in range(3, 168)
    if all(prime % divisor for divisor in range(2, math.isqrt(prime) + 1))
}
_FERMAT_ROUNDS = 100
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)

# The library warns of an empty common name; the log is not for the contents of CSRs.
warnings.filterwarnings("ignore", message="Attribute's length must be", category=UserWarning)


@dataclass(frozen=True, slots=True)
class CheckedCSR:
    """The parts of a CSR that passed :func:`check` from which a certificate is issued.

    :ivar spki_sha256: the SHA-256 of the key's DER SubjectPublicKeyInfo, 32 octets.
    :ivar thumbprint: the key as an account key would be known (RFC 7638).
    """

    public_key: PublicKey
    spki_sha256: bytes
    thumbprint: str


def check(
    encoded: bytes,
    identifiers: Collection[Identifier],
    forbidden_keys: Collection[bytes] = (),
    policy: KeyPolicy = CERTIFIED,
) -> CheckedCSR:
    """Check a CSR against the order that it finalizes.

    :param encoded: the CSR as it came, DER.
    :param identifiers: the order's identifiers, canonical.
    :param forbidden_keys: SHA-256 of the SubjectPublicKeyInfo of keys that get no certificate, the CA's own.
    :param policy: the keys that are accepted; weak ones never are.
    :raises AcmeError: ``badCSR``, saying what the client has to change.
    """
    if len(encoded) > MAX_BYTES:
        raise _csr_error(f"the CSR is larger than {MAX_BYTES} bytes")
    try:
        csr = _load(encoded)
        extensions = csr.extensions
        subject = csr.subject
    except _UNREADABLE as error:
        raise _csr_error(
            "the CSR cannot be read; send one PKCS #10 request in DER, base64url without padding"
        ) from error
    # The key is judged before it is used: verifying with an absurd one is work for us, and not for its sender.
    signed = _signed(encoded)
    key_info = _key_info(signed)
    public_key = _strong(csr, key_info, policy)
    # A bit string with bits that are not used would be another spelling of the same signature.
    if not encoded.endswith(b"\0" + csr.signature):
        raise _csr_error("the CSR's signature is not a whole number of octets")
    _check_signature(csr, public_key, signed)
    spki_sha256 = hashlib.sha256(key_info).digest()
    if spki_sha256 in forbidden_keys:
        raise _csr_error("the CSR's key is the CA's own; make a new key for the certificate")
    _check_names(_requested_names(subject, extensions), frozenset(identifiers))
    _check_not_a_ca(extensions)
    return CheckedCSR(public_key, spki_sha256, jwk.thumbprint(public_key))


def _csr_error(detail: str) -> AcmeError:
    return AcmeError(Problem.BAD_CSR, detail)


def _strong(csr: x509.CertificateSigningRequest, key_info: bytes, policy: KeyPolicy) -> PublicKey:
    """The CSR's key, once it is one that gets certificates and stands in the CSR as it would in a certificate.

    :param key_info: the SubjectPublicKeyInfo as it stands in the CSR.
    """
    try:
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _csr_error(
            "the CSR's key cannot be read: its algorithm, its curve or their parameters are not known here; the keys "
            f"that are accepted: {', '.join(policy.types)}"
        ) from error
    if (refusal := policy.refusal(key)) is not None:
        raise _csr_error(refusal)
    assert isinstance(key, PublicKey)  # no other kind is accepted
    # A certificate would hold the key in this one form: a key for RSASSA-PSS alone (RFC 4055 section 1.2) as one for
    # any use, and a curve with parameters of its own (RFC 5480 section 2.1.1) as a named one.
    if jwk.spki(key) != key_info:
        if isinstance(key, rsa.RSAPublicKey):
            raise _csr_error(
                "the CSR's RSA key is for RSASSA-PSS alone, or has other parameters; certificates here hold RSA keys "
                "for any use (rsaEncryption): make a key of that kind"
            )
        raise _csr_error(
            "the CSR's key is not in the form that certificates here have: a curve is named, without parameters of its "
            "own, and its point is not compressed; make the CSR in that form"
        )
    if isinstance(key, rsa.RSAPublicKey):
        _check_modulus(key.public_numbers().n)
    return key


def _signed(csr: bytes) -> bytes:
    """The CertificationRequestInfo, as it came: the bytes under a CSR's signature (RFC 2986 section 4.2)."""
    start = der.contents(csr, 0)
    return csr[start : der.end(csr, start)]


def _key_info(info: bytes) -> bytes:
    """The SubjectPublicKeyInfo in a CertificationRequestInfo (RFC 2986 section 4.1): after version and subject."""
    version = der.contents(info, 0)
    start = der.end(info, der.end(info, version))
    return info[start : der.end(info, start)]


def _check_modulus(modulus: int) -> None:
    if math.gcd(modulus, _SMALL_PRIMES) != 1:
        raise _csr_error("the RSA key is weak: its modulus has a small factor; make a new key")
    if all(modulus % prime in residues for prime, residues in _ROCA.items()):
        raise _csr_error("the RSA key is weak: it was made by a faulty library (ROCA, CVE-2017-15361); make a new key")
    if _has_close_factors(modulus):
        raise _csr_error("the RSA key is weak: its two primes are close to each other; make a new key")


def _has_close_factors(modulus: int) -> bool:
    """Whether some rounds of Fermat's method factor an odd modulus (CVE-2022-26320)."""
    middle = math.isqrt(modulus)
    if middle * middle == modulus:
        return True
    for candidate in range(middle + 1, middle + 1 + _FERMAT_ROUNDS):
        rest = candidate * candidate - modulus
        # Squares end in few of the possible bits, and most roots need not be taken.
        if rest & 15 in (0, 1, 4, 9) and math.isqrt(rest) ** 2 == rest:
            return True
    return False


def _load(encoded: bytes) -> x509.CertificateSigningRequest:
    """Read a CSR, also one whose version is not the one that RFC 2986 has.

    Ruby's acme-client, GitLab's, writes version 3, and no other server has minded. Nothing depends on the version, so
    it is read as 0; the signature is checked over the bytes as they came.
    """
    try:
        return x509.load_der_x509_csr(encoded)
    except x509.InvalidVersion:
        version = der.contents(encoded, der.contents(encoded, 0))
        if encoded[version : version + 2] != b"\x02\x01":
            raise
        return x509.load_der_x509_csr(encoded[: version + 2] + b"\0" + encoded[version + 3 :])


def _check_signature(csr: x509.CertificateSigningRequest, key: PublicKey, signed: bytes) -> None:
    """Refuse a CSR that its key has not signed.

    :param signed: the bytes that were signed.
    """
    try:
        hash_algorithm = csr.signature_hash_algorithm
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _csr_error("the CSR's signature algorithm is not known") from error
    if isinstance(hash_algorithm, _WEAK_HASHES):
        raise _csr_error(f"the CSR is signed with {hash_algorithm.name.upper()}; use SHA-256 or better")
    if not _verifies(csr, key, signed):
        raise _csr_error("the CSR's signature does not verify with the key in it")


def _verifies(csr: x509.CertificateSigningRequest, key: PublicKey, signed: bytes) -> bool:
    """Whether a key has signed a CSR; the library would read the key again, and write what was signed."""
    try:
        algorithm, hash_algorithm = csr.signature_algorithm_parameters, csr.signature_hash_algorithm
        if isinstance(key, rsa.RSAPublicKey) and isinstance(algorithm, padding.AsymmetricPadding):
            assert hash_algorithm is not None  # RSA signatures are of a hash
            key.verify(csr.signature, signed, algorithm, hash_algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(algorithm, ec.ECDSA):
            key.verify(csr.signature, signed, algorithm)
        elif isinstance(key, ed25519.Ed25519PublicKey) and algorithm is None:
            key.verify(csr.signature, signed)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _requested_names(subject: x509.Name, extensions: x509.Extensions) -> frozenset[Identifier]:
    """Return the names in the subjectAltName and, RFC 8555 section 7.4, the common name."""
    requested: set[Identifier] = set()
    try:
        alternatives = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternatives = x509.SubjectAlternativeName([])
    try:
        for general_name in alternatives:
            if isinstance(general_name, x509.DNSName):
                requested.add(names.dns(general_name.value))
            elif isinstance(general_name, x509.IPAddress):
                requested.add(names.ip(str(general_name.value)))
            else:
                kind = type(general_name).__name__
                raise _csr_error(f"the CSR asks for a {kind}; certificates hold dns names and addresses only")
        for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME):
            if not str(attribute.value).strip(" "):
                continue  # OpenSSL writes an empty one where a person was asked for a name and typed nothing
            common_name = names.from_text(str(attribute.value))
            # An address counts where RFC 8738 section 3 puts it, in the subjectAltName.
            if common_name.type == "ip" and common_name not in requested:
                raise _csr_error("the CSR's common name is an address that its subjectAltName does not hold")
            requested.add(common_name)
    except ValueError as error:
        raise _csr_error(f"the CSR asks for an invalid name: {error}"[:300]) from error
    return frozenset(requested)


def _check_names(requested: frozenset[Identifier], ordered: frozenset[Identifier]) -> None:
    if missing := sorted(ordered - requested):
        raise _csr_error(f"the CSR lacks {_listed(missing)}; its names are exactly the order's")
    if surplus := sorted(requested - ordered):
        raise _csr_error(
            f"the CSR asks for {_listed(surplus)}, which the order does not hold; its names are exactly the order's"
        )


def _listed(identifiers: list[Identifier]) -> str:
    first = ", ".join(map(str, identifiers[:5]))
    return first if len(identifiers) <= 5 else f"{first} and {len(identifiers) - 5} more"


def _check_not_a_ca(extensions: x509.Extensions) -> None:
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return
    if constraints.ca:
        raise _csr_error("the CSR asks to become a CA; this server issues end-entity certificates only")
