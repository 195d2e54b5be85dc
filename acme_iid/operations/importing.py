"""Taking up what a root elsewhere signed for a key of this CA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.config.settings import Config
from acme_iid.issuance import home, imports, keys
from acme_iid.issuance.ca import fingerprint
from acme_iid.issuance.issuer import Issuer, Signer, key_id
from acme_iid.issuance.keys import CAFileError
from acme_iid.protocol.public_keys import AUTHORITIES, PublicKey

_TRIAL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Imported:
    """An issuer that was taken up.

    :ivar fingerprint: of its root.
    """

    issuer_id: str
    folder: Path
    fingerprint: str


def take_up(config: Config, path: Path, password: str | None, now: int) -> Imported:
    """Take up a chain, and the root where the CA has none yet.

    :param path: a PEM file: the issuer first, the root last.
    :param now: seconds.
    :raises CAFileError: if the chain does not fit; nothing was changed then.
    :raises OSError: if a file cannot be written.
    """
    chain = imports.read_chain(path)
    public = chain[0].public_key()
    if (refusal := AUTHORITIES.refusal(public, chain[0].public_key_algorithm_oid)) is not None:
        raise CAFileError(f"{path} begins with a certificate for a key that no CA signs with: {refusal}")
    assert isinstance(public, PublicKey)  # AUTHORITIES accepts no other
    mine = next((entry for entry in chain if home.has_waiting_key(config.home, entry)), None)
    if mine is not None and mine is not chain[0]:
        imports.check(chain, _public(mine), now)
    key = keys.load(home.waiting_key(config.home, public), password)
    imports.check(chain, key.public_key(), now)
    root = chain[-1]
    known = _known_roots(config.home)
    if known and root not in known:
        raise CAFileError(
            f"{path} leads to another root than this CA's ({fingerprint(root)}); clients would refuse what it signs. "
            "Have the request signed under the root that they trust"
        )
    issuer = Issuer(Signer(chain[0], key), root, chain[1:-1])
    trial_key = keys.generate()
    leaf = issuer.issue_serving(trial_key.public_key(), config.server.names, now + _TRIAL_SECONDS, now)
    pem = x509.load_der_x509_certificate(leaf.der).public_bytes(Encoding.PEM).decode()
    imports.try_chain(chain, pem, trial_key, config.server.names[0].value)
    if not known:
        home.replace_root(config.home, root)
    home.add(config.home, issuer.signer, issuer.above)
    issuer_id = key_id(public)
    return Imported(issuer_id, config.home / home.folder_of(issuer_id), fingerprint(root))


def _public(certificate: x509.Certificate) -> PublicKey:
    key = certificate.public_key()
    assert isinstance(key, PublicKey)
    return key


def _known_roots(folder: Path) -> tuple[x509.Certificate, ...]:
    return home.load_roots(folder) if (folder / home.ROOT_CERTIFICATE).exists() else ()
