"""A chain that somebody else signed for a key of ours: whether the CA can issue with it.

All is tried before anything is written: what each certificate says (:func:`check`), and then a TLS handshake with a
leaf of the new issuer, as strict clients make it (:func:`try_chain`).
"""

from __future__ import annotations

import re
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from acme_iid.issuance import keys, name_constraints
from acme_iid.issuance.home import shown
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.roots import is_signed_by
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.public_keys import AUTHORITIES, PublicKey

T = TypeVar("T", bound=x509.ExtensionType)

_STRONG_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_ORDER = "the issuing CA first, then each certificate that signed the one before it, and the root last"
_HOST = re.compile(r"[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)*")
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.POLICY_MAPPINGS,
    ExtensionOID.POLICY_CONSTRAINTS,
    ExtensionOID.INHIBIT_ANY_POLICY,
}
"""The extensions that usual clients understand, so that they may be critical (RFC 5280 section 4.2)."""


def check(chain: Sequence[x509.Certificate], key: PublicKey, now: int) -> None:
    """Check that a chain leads from a key of ours to a root, and that each certificate may do what it is there for.

    What is demanded of key usages is keyCertSign and cRLSign of the issuing CA, and keyCertSign of those above.

    :param chain: the issuing CA first, the root last; all that they say can be read.
    :param key: what the issuing CA's certificate must be for.
    :param now: seconds.
    :raises CAFileError: with what is wrong and what to do.
    """
    for certificate in chain:
        _check_strength(certificate)
    _check_place(chain, key)
    for place, certificate in enumerate(chain):
        _check_certificate(certificate, place, now)
    for certificate, issuer in pairwise(chain):
        if certificate.not_valid_after_utc > issuer.not_valid_after_utc:
            raise CAFileError(
                f"{name_of(certificate)} ends at {_time(certificate.not_valid_after_utc)}, after {name_of(issuer)} "
                f"that signed it ({_time(issuer.not_valid_after_utc)}); have it signed for a shorter time"
            )


def is_root(certificate: x509.Certificate) -> bool:
    """Whether a certificate is signed with its own key."""
    return is_signed_by(certificate, certificate)


def closed_purposes(chain: Sequence[x509.Certificate]) -> list[str]:
    """Return what certificates under a chain are no good for, though they say so: ``clientAuth``, or nothing."""
    client = ExtendedKeyUsageOID.CLIENT_AUTH
    return ["clientAuth"] if any(not _permits(certificate, client) for certificate in chain) else []


def common_names_as_hosts(chain: Sequence[x509.Certificate]) -> Iterator[x509.Certificate]:
    """Return the CA certificates below which Java accepts nothing, though they and their signers are in order.

    Where there is no name of a host beside it, it takes a common name of one word for one, and holds it against the
    constraints above, those of the root excepted.
    """
    for place, certificate in enumerate(chain[:-1]):
        common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if not common_names or _extension(certificate, x509.SubjectAlternativeName) is not None:
            continue
        word = str(common_names[-1].value).lower()
        above = name_constraints.read((name_of(entry), entry) for entry in chain[place + 1 : -1])
        if _HOST.fullmatch(word) and any(entry.refusal(Identifier("dns", word)) is not None for entry in above):
            yield certificate


def _check_strength(certificate: x509.Certificate) -> None:
    """Refuse weak keys and signatures; nobody looks at a root's own signature."""
    name = name_of(certificate)
    key, algorithm = certificate.public_key(), certificate.public_key_algorithm_oid
    if (refusal := AUTHORITIES.refusal(key, algorithm)) is not None:
        raise CAFileError(f"{name} has a key that no CA should sign with: {refusal}")
    if is_root(certificate):
        return
    oid = certificate.signature_algorithm_oid
    try:
        made_with = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        raise CAFileError(f"{name} is signed with an algorithm that is not known here ({oid.dotted_string})") from error
    if made_with is not None and not isinstance(made_with, _STRONG_HASHES):
        raise CAFileError(f"{name} is signed with {made_with.name}, which clients refuse; have it signed with SHA-256")


def _check_place(chain: Sequence[x509.Certificate], key: PublicKey) -> None:
    """Check that the certificates are in order, and that the first one is for our key."""
    first, last = chain[0], chain[-1]
    for place, certificate in enumerate(chain):
        if certificate in chain[:place]:
            raise CAFileError(f"{name_of(certificate)} is in the file twice; leave one of them out")
    if first.public_key() != key:
        elsewhere = next((entry for entry in chain if entry.public_key() == key), None)
        if elsewhere is not None:
            raise CAFileError(
                f"the certificates are in the wrong order: {name_of(elsewhere)} has this CA's key and must be the "
                f"first; {_ORDER}"
            )
        raise CAFileError(
            f"{name_of(first)} is for another key than this CA's; import the answer to the request that this CA made"
        )
    if len(chain) == 1 and is_root(last):
        raise CAFileError(
            f"{name_of(last)} is self-signed: a root that issues leaves by itself is not supported; have an "
            "intermediate signed by it (acme-iid-ca init --csr)"
        )
    for certificate, issuer in pairwise(chain):
        if not is_signed_by(certificate, issuer):
            raise CAFileError(
                f"{name_of(certificate)} was not signed by {name_of(issuer)}: {_misplaced(certificate, issuer, chain)}"
            )
        _check_identifiers(certificate, issuer)
    if not is_root(last):
        raise CAFileError(
            f"the chain ends with {name_of(last)}, which was signed by {shown(last.issuer)!r}; add that "
            f"certificate, up to the root: {_ORDER}"
        )


def _misplaced(certificate: x509.Certificate, following: x509.Certificate, chain: Sequence[x509.Certificate]) -> str:
    """The reason why a certificate is followed by another than its signer."""
    signer = next((entry for entry in chain if entry != certificate and is_signed_by(certificate, entry)), None)
    if signer is not None:
        return f"{name_of(signer)} signed it; the order is {_ORDER}"
    if is_root(certificate):
        return f"it is a root, behind which nothing can stand; the order is {_ORDER}"
    if certificate.issuer == following.subject:
        return "it names that one, but another key signed it; take the certificate of the key that did"
    return f"{shown(certificate.issuer)!r} did, and its certificate is missing; the order is {_ORDER}"


def _check_identifiers(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Check that the issuer is the one that a certificate's authority key identifier names: OpenSSL looks there."""
    named, own = _extension(certificate, x509.AuthorityKeyIdentifier), _extension(issuer, x509.SubjectKeyIdentifier)
    if named is None:
        raise CAFileError(
            f"{name_of(certificate)} has no authority key identifier, without which strict clients refuse it (RFC 5280 "
            "section 4.2.1.1); have it signed with one"
        )
    other_key = named.key_identifier and own is not None and named.key_identifier != own.digest
    serial = named.authority_cert_serial_number
    if other_key or (serial is not None and serial != issuer.serial_number):
        raise CAFileError(
            f"the authority key identifier of {name_of(certificate)} is about another certificate than "
            f"{name_of(issuer)}, so that clients do not find its signer; have it signed anew"
        )


def _check_certificate(certificate: x509.Certificate, place: int, now: int) -> None:
    """Check one certificate of a chain; ``place`` is the number of CA certificates below it."""
    name = name_of(certificate)
    if now < certificate.not_valid_before_utc.timestamp():
        raise CAFileError(
            f"{name} is not valid yet: it begins at {_time(certificate.not_valid_before_utc)}; look at the clocks"
        )
    if now >= certificate.not_valid_after_utc.timestamp():
        raise CAFileError(f"{name} has expired, at {_time(certificate.not_valid_after_utc)}; have a new one signed")
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.ca:
        raise CAFileError(f"{name} is no CA certificate (basicConstraints: CA); have it signed as a subordinate CA")
    if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).critical:
        raise CAFileError(
            f"{name} has basic constraints that are not critical, so that strict clients refuse it (RFC 5280 section "
            "4.2.1.9); have it signed anew"
        )
    if basic.path_length is not None and basic.path_length < place:
        raise CAFileError(
            f"{name} has the path length {basic.path_length}, and {place} CA certificates are below it; it has to be "
            "signed with a longer one, or with none at all"
        )
    _check_purposes(certificate, place)
    _check_extensions(certificate, place)


def _check_purposes(certificate: x509.Certificate, place: int) -> None:
    """Check that a CA certificate may sign what is below it."""
    name = name_of(certificate)
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None:
        raise CAFileError(
            f"{name} has no key usage, without which strict clients refuse a CA (RFC 5280 section 4.2.1.3); have it "
            "signed with keyCertSign and cRLSign"
        )
    demanded = (("keyCertSign", usage.key_cert_sign), ("cRLSign", place > 0 or usage.crl_sign))
    lacking = [word for word, present in demanded if not present]
    if lacking:
        raise CAFileError(f"{name} may not sign: its key usage lacks {' and '.join(lacking)}; have it signed with them")
    if not _permits(certificate, ExtendedKeyUsageOID.SERVER_AUTH):
        raise CAFileError(
            f"{name} is limited to purposes (extendedKeyUsage) that lack serverAuth, which the certificates below it "
            "are for; have it signed with that or without the extension"
        )


def _check_extensions(certificate: x509.Certificate, place: int) -> None:
    """Refuse what clients would stumble over in certificates that this CA issues below it."""
    name = name_of(certificate)
    if not list(certificate.subject):
        raise CAFileError(f"{name} cannot sign: the issuer of a certificate has a name (RFC 5280 section 4.1.2.6)")
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        raise CAFileError(f"{name} has no subject key identifier, which CA certificates have (RFC 5280 4.2.1.2)")
    unknown = [entry.oid for entry in certificate.extensions if entry.critical and entry.oid not in _UNDERSTOOD]
    if unknown:
        raise CAFileError(
            f"{name} has a critical extension that clients do not know ({unknown[0].dotted_string}), so that they "
            "refuse it; have it signed without"
        )
    policies = _extension(certificate, x509.PolicyConstraints)
    explicit = None if policies is None else policies.require_explicit_policy
    # It counts the certificates behind this one, the leaf too (RFC 5280 section 6.1.4 (h) and 6.1.5 (a)).
    if explicit is not None and explicit <= place + 1:
        raise CAFileError(
            f"{name} demands a certificate policy of each certificate below it (requireExplicitPolicy), and this CA "
            "writes none; have it signed without policyConstraints"
        )


def _permits(certificate: x509.Certificate, purpose: x509.ObjectIdentifier) -> bool:
    """Whether a CA certificate leaves the certificates below it a purpose: many clients read its own as a limit."""
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    return purposes is None or purpose in purposes or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes


def try_chain(chain: Sequence[x509.Certificate], leaf_pem: str, key: keys.PrivateKey, host: str) -> None:
    """Have OpenSSL shake hands with a leaf under a chain, strictly, as clients with Python 3.13 and later do.

    :param chain: the issuing CA first, the root last.
    :param leaf_pem: a certificate for ``host`` that the issuing CA's key signed.
    :param key: the leaf's.
    :raises CAFileError: with OpenSSL's reason.
    """
    root = chain[-1].public_bytes(Encoding.PEM).decode()
    above = "".join(entry.public_bytes(Encoding.PEM).decode() for entry in chain[:-1])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        trusting = ssl.create_default_context(cadata=root)
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(keys.to_pem(key).decode() + leaf_pem + above)
            pair.flush()
            serving.load_cert_chain(pair.name)
        client = trusting.wrap_bio(to_client, to_server, server_hostname=host)
        server = serving.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server, client, server, client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLCertVerificationError as error:
        hint = (
            "name constraints above it that are about subjects (directoryName) do not permit the issuing CA's own"
            if "subtree" in error.verify_message
            else "have it signed as RFC 5280 section 4.2 asks"
        )
        raise CAFileError(
            f"no client would take a certificate under this chain: OpenSSL says '{error.verify_message}'; {hint}"
        ) from error
    except ssl.SSLError as error:
        raise CAFileError(f"no TLS connection comes about under this chain: {error.reason}") from error


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def name_of(certificate: x509.Certificate) -> str:
    """Return a certificate's subject for people, in quotation marks."""
    return repr(shown(certificate.subject)) if list(certificate.subject) else "a certificate without a subject"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
