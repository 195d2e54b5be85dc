"""Taking a certificate back (RFC 8555 section 7.6)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from acme import messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.jwa import ES256, ES384, ES512, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA

from acme_iid_client.acme import registration
from acme_iid_client.acme.connection import CaError, Connection
from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.clouds import Cloud
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.x509 import keys

_ALGORITHMS = {"P-256": ES256, "P-384": ES384, "P-521": ES512}


def by_certificate_key(
    certificate: x509.Certificate,
    key_file: Path,
    reason: int,
    ca: KnownCA,
    deadline: Deadline,
    notice: Callable[[str], None],
) -> None:
    """Revoke with a request that the certificate's own key signs: any holder of the key may.

    :param reason: a reason code (RFC 5280 section 5.3.1).
    :raises ClientError: if the key is another one, or the CA refuses.
    """
    key = keys.load(key_file.read_bytes(), str(key_file))
    if keys.spki(key.public_key()) != keys.spki(certificate.public_key()):
        raise ClientError(f"{key_file} is not the key of this certificate.")
    jwk, algorithm = _signer(key)
    with Connection(ca, jwk, algorithm, None, deadline, notice) as connection:
        _revoke(certificate, reason, connection)


def by_account(
    certificate: x509.Certificate,
    reason: int,
    ca: KnownCA,
    state: Path,
    cloud: Callable[[], Cloud],
    deadline: Deadline,
    notice: Callable[[str], None],
) -> None:
    """Revoke as the account that ordered the certificate.

    :param cloud: finds this machine's cloud; called only if the disk holds several account keys for the CA.
    :raises ClientError: if there is no such account here, or the CA refuses.
    """
    try:
        account = registration.known_here(state, ca, cloud)
    except ClientError as error:
        raise ClientError(
            f"{error} The certificate's private key revokes it as well, with --key, and so does an operator, with "
            "'acme-iid-ca certificate revoke'."
        ) from error
    account = registration.settled(account, ca, deadline, notice)
    url = registration.url_of(account, ca, deadline, notice)
    with Connection(ca, account.key, ES256, url, deadline, notice) as connection:
        try:
            _revoke(certificate, reason, connection)
        except CaError as error:
            if error.code == "badRevocationReason":
                error.add("Give the certificate's private key with --key: keyCompromise has to be signed by it.")
            raise


def _signer(key: keys.PrivateKey) -> tuple[JWK, JWASignature]:
    kind = keys.type_of(key.public_key())
    if isinstance(key, rsa.RSAPrivateKey):
        return JWKRSA(key=key), RS256
    if isinstance(key, ec.EllipticCurvePrivateKey) and kind is not None:
        return JWKEC(key=key), _ALGORITHMS[kind.curve]
    raise ClientError("An Ed25519 key cannot sign this request. Leave out --key: this machine's account revokes then.")


def _revoke(certificate: x509.Certificate, reason: int, connection: Connection) -> None:
    connection.post(
        connection.resource("revokeCert"),
        messages.Revocation(certificate=certificate, reason=reason),
        "The CA refused to revoke the certificate",
    )
