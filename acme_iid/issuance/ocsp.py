"""The Online Certificate Status Protocol (RFC 6960, RFC 9654): questions in, answers by a responder out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from acme_iid.issuance.crl import REASONS, Revoked
from acme_iid.issuance.issuer import BACKDATE, Signer, signature_hash

MAX_REQUEST_BYTES = 2048
"""The size a request may have, octets of DER; one with a nonce takes some 150."""
MAX_NONCE_BYTES = 128
"""RFC 9654 section 2.1."""

_HASHES = (hashes.SHA1, hashes.SHA256, hashes.SHA384, hashes.SHA512)


class OCSPError(Exception):
    """A question that gets no answer; ``status`` is the reason, and :meth:`response` tells the client."""

    def __init__(self, status: ocsp.OCSPResponseStatus) -> None:
        super().__init__(status.name)
        self.status = status

    def response(self) -> bytes:
        """The response, in DER; these are not signed."""
        return ocsp.OCSPResponseBuilder.build_unsuccessful(self.status).public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class Question:
    """A request, read: which certificate it is about, under which hashes of its issuer, and its nonce."""

    algorithm: hashes.HashAlgorithm
    name_hash: bytes
    key_hash: bytes
    serial: int
    nonce: bytes | None

    def is_about(self, issuer: x509.Certificate) -> bool:
        """Whether the certificate would be one of this issuer's."""
        return (self.name_hash, self.key_hash) == issuer_hashes(issuer, self.algorithm)


def issuer_hashes(issuer: x509.Certificate, algorithm: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    """An issuer as requests name it: the hashes of its name, and of its key without type (RFC 6960 section 4.1.1)."""
    key = issuer.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        bits = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        bits = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey)  # a CA signs with no other
        bits = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return _digest(algorithm, issuer.subject.public_bytes()), _digest(algorithm, bits)


def _digest(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def read(der: bytes) -> Question:
    """Read a request for the status of one certificate.

    :raises OCSPError: ``malformedRequest``.
    """
    if len(der) > MAX_REQUEST_BYTES:
        raise OCSPError(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
    try:
        request = ocsp.load_der_ocsp_request(der)
        question = Question(
            request.hash_algorithm,
            request.issuer_name_hash,
            request.issuer_key_hash,
            request.serial_number,
            _nonce(request.extensions),
        )
    except (ValueError, NotImplementedError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise OCSPError(ocsp.OCSPResponseStatus.MALFORMED_REQUEST) from error
    if not isinstance(question.algorithm, _HASHES) or question.serial < 0:  # an answer cannot hold a negative one
        raise OCSPError(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
    return question


def _nonce(extensions: x509.Extensions) -> bytes | None:
    nonce = None
    for extension in extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            nonce = extension.value.nonce
            if not 0 < len(nonce) <= MAX_NONCE_BYTES:
                raise ValueError("RFC 9654 section 2.1: such a nonce is refused")
        elif extension.critical:
            raise ValueError("an extension that must be understood is not")
    return nonce


def answer(
    responder: Signer, question: Question, *, issued: bool, revoked: Revoked | None, now: int, next_update: int | None
) -> bytes:
    """Sign the answer to a question about a certificate of an issuer, in DER.

    :param responder: the issuer's; its certificate is in the answer, and named there.
    :param issued: whether the certificate was issued here; the status of any other is unknown.
    :param revoked: its revocation, None if it is good.
    :param now: seconds; the answer says a minute less, for clocks that lag.
    :param next_update: seconds; until then the answer can be relied on. None where nobody relies on one any more.
    """
    status = ocsp.OCSPCertStatus.GOOD if issued else ocsp.OCSPCertStatus.UNKNOWN
    if revoked is not None:
        status = ocsp.OCSPCertStatus.REVOKED
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response_by_hash(
            question.name_hash,
            question.key_hash,
            question.serial,
            question.algorithm,
            status,
            _time(now - BACKDATE),
            None if next_update is None else _time(next_update),
            # Nothing in an answer is later than its thisUpdate, which is a minute back.
            None if revoked is None else _time(min(revoked.at, now - BACKDATE)),
            None if revoked is None else REASONS.get(revoked.reason),
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
        .certificates([responder.certificate])
    )
    if question.nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(question.nonce), critical=False)
    return builder.sign(responder.key, signature_hash(responder.key)).public_bytes(Encoding.DER)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
