"""What is signed with a root's key: roots themselves, intermediates, and links from one root to the next.

A root's key is used here and nowhere else, so that it may be kept away from the machine that issues.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from acme_iid.issuance import keys
from acme_iid.issuance.issuer import BACKDATE, Signer, signature_hash
from acme_iid.issuance.keys import CAFileError, PrivateKey
from acme_iid.issuance.leaf import new_serial
from acme_iid.protocol.public_keys import AUTHORITIES, PublicKey

DAY = 86400
ROOT_LIFETIME = 10 * 365 * DAY
INTERMEDIATE_LIFETIME = 5 * 365 * DAY
KEY_TYPES = ("P-256", "P-384", "Ed25519", "RSA-3072", "RSA-4096")
"""The kinds of key that a CA can be made with."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a CA certificate is for.

    :ivar word: its place, as its subject names it.
    :ivar path_length: how many CA certificates may follow it; None for any number.
    :ivar responder: whether its key signs answers about its certificates (OCSP) as well.
    """

    word: str
    path_length: int | None
    responder: bool


ROOT = Role("Root", None, responder=False)
"""A root has no path length: the link to its successor is one certificate more, below it."""
INTERMEDIATE = Role("Intermediate", 0, responder=True)


def generate(key_type: str) -> PrivateKey:
    """Return a new key; ``key_type`` is one of :data:`KEY_TYPES`."""
    if key_type == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if key_type.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(key_type.removeprefix("RSA-")))
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}[key_type])


def subject(name: str, role: Role, key: PublicKey) -> x509.Name:
    """Return the subject of a CA certificate, which no other key of the same CA has.

    Two roots of one name, one of which signs the other, would look like one that is self-signed: some OpenSSL refuse
    such a chain with error 19 (openssl/openssl issue 32793).

    :param name: the CA's; "My CA" has a "My Root CA", not a "My CA Root CA".
    """
    number = x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()[:8]
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"{name.removesuffix(' CA')} {role.word} CA"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, number),
        ]
    )


def create_root(
    name: str,
    now: int,
    key: PrivateKey | None = None,
    lifetime: int = ROOT_LIFETIME,
    constraints: x509.NameConstraints | None = None,
    itself: x509.Name | None = None,
) -> Signer:
    """Return a new self-signed root.

    :param name: the CA's.
    :param now: seconds.
    :param key: None for a new one on P-256.
    :param lifetime: seconds.
    :param constraints: the names that anything below it can be for.
    :param itself: its subject; None for one that is made of the name.
    """
    key = key or keys.generate()
    public = key.public_key()
    itself = itself or subject(name, ROOT, public)
    builder = _builder(itself, public, ROOT, x509.SubjectKeyIdentifier.from_public_key(public), constraints)
    return Signer(_sign(builder, itself, _identifier_of(public), key, now, now + lifetime), key)


def create_intermediate(
    root: Signer,
    name: str,
    now: int,
    key: PrivateKey | None = None,
    lifetime: int = INTERMEDIATE_LIFETIME,
    constraints: x509.NameConstraints | None = None,
    itself: x509.Name | None = None,
    crl_url: str | None = None,
) -> Signer:
    """Return a new intermediate under ``root``; it issues leaves only, and ends with the root at the latest.

    :param lifetime: seconds.
    :param crl_url: where the root's revocation list is; None if the certificate does not say it. The other parameters
        are those of :func:`create_root`.
    :raises CAFileError: if the root has run out or is none that can sign an intermediate.
    """
    key = key or keys.generate()
    public = key.public_key()
    itself = itself or subject(name, INTERMEDIATE, public)
    return Signer(sign_intermediate(root, itself, public, now, lifetime, constraints, crl_url), key)


def sign_intermediate(
    root: Signer,
    intermediate: x509.Name,
    key: PublicKey,
    now: int,
    lifetime: int = INTERMEDIATE_LIFETIME,
    constraints: x509.NameConstraints | None = None,
    crl_url: str | None = None,
) -> x509.Certificate:
    """Return the certificate of an intermediate whose key is elsewhere.

    :param intermediate: its subject.
    :raises CAFileError: as :func:`create_intermediate` does.
    """
    ends = min(now + lifetime, _usable_until(root, now) + BACKDATE)
    builder = _builder(intermediate, key, INTERMEDIATE, x509.SubjectKeyIdentifier.from_public_key(key), constraints)
    builder = _with_list(builder, crl_url)
    return _sign(builder, root.certificate.subject, root.key_identifier, root.key, now, ends)


def request(
    name: str, key: PrivateKey, constraints: x509.NameConstraints | None, itself: x509.Name | None = None
) -> x509.CertificateSigningRequest:
    """Return what an intermediate asks of a root that is elsewhere, for PKCS #10 (RFC 2986).

    It asks for all that the certificate should say; whoever signs decides.
    """
    public = key.public_key()
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(itself or subject(name, INTERMEDIATE, public))
        .add_extension(x509.BasicConstraints(ca=True, path_length=INTERMEDIATE.path_length), critical=True)
        .add_extension(_key_usage(responder=INTERMEDIATE.responder), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    return builder.sign(key, signature_hash(key))


def cross_sign(root: Signer, intermediate: x509.Certificate, now: int, crl_url: str | None = None) -> x509.Certificate:
    """Return an intermediate as another root signs it: the same subject, key, key identifier and name constraints.

    It ends with the intermediate or the root, whichever is first.

    :param crl_url: where the root's revocation list is; None if the certificate does not say it.
    :raises CAFileError: if the root is no CA certificate, its key is another one, or one of the two has run out.
    """
    usable = _usable_until(root, now)
    try:
        identifier = intermediate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CAFileError("the intermediate lacks a subject key identifier, which CA certificates have") from error
    try:
        constraints = intermediate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    ends = min(usable, int(intermediate.not_valid_after_utc.timestamp()))
    if ends <= now:
        raise CAFileError("the intermediate has run out")
    builder = _builder(intermediate.subject, _public_key(intermediate), INTERMEDIATE, identifier, constraints)
    builder = _with_list(builder, crl_url)
    return _sign(builder, root.certificate.subject, root.key_identifier, root.key, now, ends + BACKDATE)


def link(old: Signer, new: x509.Certificate, now: int, crl_url: str | None = None) -> x509.Certificate:
    """Return the link from one root to the next: the new root's subject and key, signed with the old root's key.

    By it, clients that know the old root take up the new one. It ends with the first of the two.

    :param crl_url: where the old root's revocation list is; None if the link does not say it.
    :raises CAFileError: if the old root cannot sign it, the new one is no self-signed root, or both have one subject.
    """
    usable = _usable_until(old, now)
    try:
        new.verify_directly_issued_by(new)
        authority = new.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        identifier = new.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise CAFileError("the new root is no self-signed CA certificate with a subject key identifier") from error
    key = _public_key(new)
    if not authority or (refusal := AUTHORITIES.refusal(key, new.public_key_algorithm_oid)) is not None:
        raise CAFileError("the new root is no CA certificate" if not authority else f"the new root: {refusal}")
    if new.subject == old.certificate.subject:
        raise CAFileError(
            "both roots have one subject, so that some clients would take the link for a self-signed certificate; "
            "make the new root with another name"
        )
    ends = min(usable, int(new.not_valid_after_utc.timestamp()))
    if ends <= now:
        raise CAFileError("the new root has run out")
    builder = _with_list(_builder(new.subject, key, ROOT, identifier, None), crl_url)
    return _sign(builder, old.certificate.subject, old.key_identifier, old.key, now, ends + BACKDATE)


def _usable_until(root: Signer, now: int) -> int:
    """When a root ends, seconds.

    :raises CAFileError: if it cannot sign CA certificates, or has ended.
    """
    certificate = root.certificate
    if certificate.public_key() != root.key.public_key():
        raise CAFileError("the root's key is not the key of its certificate")
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CAFileError(
            "the root's certificate lacks what a CA certificate has: basic constraints and a subject key identifier"
        ) from error
    if not basic.ca:
        raise CAFileError("the root's certificate is no CA certificate")
    if basic.path_length == 0:
        raise CAFileError("the root's certificate has the path length 0: it signs no intermediate")
    ends = int(certificate.not_valid_after_utc.timestamp())
    if ends <= now:
        raise CAFileError("the root has run out")
    return ends


def _public_key(certificate: x509.Certificate) -> PublicKey:
    key = certificate.public_key()
    if not isinstance(key, PublicKey):
        raise CAFileError("a CA signs with ECDSA, Ed25519 or RSA; the certificate has another kind of key")
    return key


def _identifier_of(key: PublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _key_usage(*, responder: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=responder,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    name: x509.Name,
    key: PublicKey,
    role: Role,
    identifier: x509.SubjectKeyIdentifier,
    constraints: x509.NameConstraints | None,
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(new_serial())
        .add_extension(x509.BasicConstraints(ca=True, path_length=role.path_length), critical=True)
        .add_extension(_key_usage(responder=role.responder), critical=True)
        .add_extension(identifier, critical=False)
    )
    return builder if constraints is None else builder.add_extension(constraints, critical=True)


def _with_list(builder: x509.CertificateBuilder, crl_url: str | None) -> x509.CertificateBuilder:
    """Have a certificate say where its issuer's revocation list is (RFC 5280 section 4.2.1.13)."""
    if crl_url is None:
        return builder
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
    return builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)


def _sign(
    builder: x509.CertificateBuilder,
    issuer: x509.Name,
    above: x509.AuthorityKeyIdentifier,
    key: PrivateKey,
    now: int,
    ends: int,
) -> x509.Certificate:
    return (
        builder.issuer_name(issuer)
        .add_extension(above, critical=False)
        .not_valid_before(datetime.fromtimestamp(now - BACKDATE, UTC))
        .not_valid_after(datetime.fromtimestamp(ends - BACKDATE, UTC))
        .sign(key, signature_hash(key))
    )
