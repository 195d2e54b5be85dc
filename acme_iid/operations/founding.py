"""What a new CA is made of: keys, certificates or a request, and the files that hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.config.settings import Config
from acme_iid.errors import RequestError
from acme_iid.issuance import ceremony, home, imports, keys, root_crl
from acme_iid.issuance.issuer import Signer, key_id
from acme_iid.issuance.keys import PrivateKey
from acme_iid.issuance.roots import fingerprint
from acme_iid.operations import importing

Files = Mapping[Path, tuple[bytes, int]]
"""Contents and modes by names in a home."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a CA is to be.

    :ivar name: the CA's.
    :ivar key_type: one of :data:`acme_iid.issuance.ceremony.KEY_TYPES`.
    :ivar lifetime: the intermediate's, seconds, as ``root_lifetime`` is the root's.
    :ivar subject: the intermediate's; None for one that is made of the name, as with ``root_subject``.
    :ivar constraints: the names that the intermediate can sign for; None for any.
    :ivar constrain_root: whether they stand in the root as well.
    :ivar root_crl_url: where a root's revocation list is, with {root} for its id; None to say nothing of it.
    :ivar password: under which private keys are stored, if under one.
    :ivar intermediate_key: gives the intermediate's key, where it stays in a token or behind a program. It is called
        once all else has been looked at. None for a new key in a file.
    """

    name: str
    key_type: str
    lifetime: int
    root_lifetime: int
    subject: x509.Name | None = None
    root_subject: x509.Name | None = None
    constraints: x509.NameConstraints | None = None
    constrain_root: bool = False
    root_crl_url: str | None = None
    password: str | None = None
    intermediate_key: Callable[[], PrivateKey] | None = None


@dataclass(frozen=True, slots=True)
class Founded:
    """A CA that was made and is to be written.

    :ivar files: those of the home.
    :ivar issuer_id: the id of its intermediate, or of the one to be.
    :ivar root_files: those of a root whose key is not to be in the home.
    :ivar fingerprint: of the root; None where it is not known yet.
    :ivar request_pem: what a root elsewhere is to sign; empty if the CA has a root.
    """

    files: Files
    issuer_id: str
    root_files: Files = field(default_factory=dict)
    fingerprint: str | None = None
    request_pem: bytes = b""


def with_root(wishes: Wishes, now: int, *, root_key_in_home: bool) -> Founded:
    """Make a root and an intermediate.

    :param now: seconds.
    :param root_key_in_home: whether the root's key is among the home's files, and not in ``root_files``.
    """
    root = ceremony.create_root(
        wishes.name,
        now,
        ceremony.generate(wishes.key_type),
        wishes.root_lifetime,
        wishes.constraints if wishes.constrain_root else None,
        wishes.root_subject,
    )
    intermediate = next_intermediate(wishes, root, now)
    files = _files(wishes, root, intermediate)
    key = {home.ROOT_KEY: (keys.to_pem(root.key, wishes.password), 0o600)}
    certificate = {home.ROOT_CERTIFICATE: files[home.ROOT_CERTIFICATE]}
    return Founded(
        {**(key if root_key_in_home else {}), **files},
        _id_of(intermediate.key),
        {} if root_key_in_home else {**key, **certificate},
        fingerprint(root.certificate),
    )


def under_root(config: Config, wishes: Wishes, certificate: Path, key: Path, now: int) -> Founded:
    """Make an intermediate under a root that exists, whose key is used once and not copied.

    :param config: that of the new CA.
    :raises CAFileError: if the root cannot be used.
    :raises RequestError: if it is not self-signed: the certificates between have to come with it then.
    """
    root = Signer(home.load_certificate(certificate), keys.load(key, wishes.password))
    if root.certificate.issuer != root.certificate.subject:
        raise RequestError(
            f"{certificate} is no root: {home.shown(root.certificate.issuer)} signed it. Make a request with "
            "--csr, have this one sign it, and give the whole chain to 'acme-iid-ca issuer import'"
        )
    intermediate = tried_intermediate(config, wishes, root, now)
    files = _files(wishes, root, intermediate)
    return Founded(files, _id_of(intermediate.key), fingerprint=fingerprint(root.certificate))


def with_request(wishes: Wishes) -> Founded:
    """Make an intermediate's key, and the request for a root that is elsewhere."""
    key, request_pem = next_request(wishes)
    files = home.files_of_key(key, wishes.password, waiting=True)
    return Founded(files, _id_of(key), request_pem=request_pem)


def next_request(wishes: Wishes) -> tuple[PrivateKey, bytes]:
    """Make an intermediate's key, and the request for a root that is elsewhere, in PEM.

    :raises SignerError: if the key is not to be in a file, and its place does not answer.
    """
    key = _intermediate_key(wishes)
    request = ceremony.request(wishes.name, key, wishes.constraints, wishes.subject)
    return key, request.public_bytes(Encoding.PEM)


def next_intermediate(wishes: Wishes, root: Signer, now: int) -> Signer:
    """Make a further intermediate under a root of the CA.

    :param now: seconds.
    :raises CAFileError: if the root cannot sign it.
    :raises SignerError: as :func:`next_request` does.
    """
    key = _intermediate_key(wishes)
    url = None if wishes.root_crl_url is None else root_crl.url_of(wishes.root_crl_url, root.certificate)
    return ceremony.create_intermediate(
        root, wishes.name, now, key, wishes.lifetime, wishes.constraints, wishes.subject, url
    )


def tried_intermediate(config: Config, wishes: Wishes, root: Signer, now: int) -> Signer:
    """Make an intermediate under a root that was not made here, and try whether clients take what it signs.

    :raises CAFileError: if they would not, or the root cannot sign it.
    """
    intermediate = next_intermediate(wishes, root, now)
    chain = (intermediate.certificate, root.certificate)
    imports.check(chain, intermediate.key.public_key(), now)
    importing.try_out(config, intermediate, chain, now)
    return intermediate


def _files(wishes: Wishes, root: Signer, intermediate: Signer) -> Files:
    return {
        home.ROOT_CERTIFICATE: (root.certificate.public_bytes(Encoding.PEM), 0o644),
        **home.files_of_key(intermediate.key, wishes.password, waiting=False),
        **home.files_of(intermediate, ()),
    }


def _id_of(key: PrivateKey) -> str:
    return key_id(key.public_key())


def _intermediate_key(wishes: Wishes) -> PrivateKey:
    return ceremony.generate(wishes.key_type) if wishes.intermediate_key is None else wishes.intermediate_key()
