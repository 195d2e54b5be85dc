"""Taking up what a root elsewhere signed for a key of this CA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.config import permitted
from acme_iid.config.settings import Config
from acme_iid.issuance import chain_files, home, imports, keys, name_constraints
from acme_iid.issuance.issuer import Issuer, Signer, key_id
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.roots import fingerprint, is_signed_by
from acme_iid.protocol.public_keys import AUTHORITIES, PublicKey

_TRIAL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Imported:
    """An issuer that was taken up.

    :ivar fingerprint: of its root.
    :ivar closed_purposes: what its certificates are no good for, though they may say so.
    :ivar hosts: the names of CA certificates that Java takes for those of hosts, and therefore refuses.
    """

    issuer_id: str
    folder: Path
    fingerprint: str
    closed_purposes: list[str]
    hosts: list[str]


def take_up(config: Config, path: Path, password: str | None, now: int) -> Imported:
    """Take up a chain, and the root where the CA has none yet.

    :param path: a PEM file: the issuer first, the root last; a root that the CA knows may be left out.
    :param now: seconds.
    :raises CAFileError: if the chain does not fit; nothing was changed then.
    :raises SignerError: if the key is in a token or behind a program, and does not sign; nothing was changed then.
    :raises OSError: if a file cannot be written.
    """
    known = _known_roots(config.home)
    chain = _with_known_root(chain_files.read(path), known)
    public = _public(chain[0])
    mine = next((entry for entry in chain if home.has_waiting_key(config.home, entry)), None)
    if mine is not None and mine is not chain[0]:
        imports.check(chain, _public(mine), now)
    key = keys.open_key(config.home, home.waiting_key(config.home, public), public, password)
    imports.check(chain, key.public_key(), now)
    root = chain[-1]
    if known and root not in known:
        raise CAFileError(
            f"{path} leads to another root than this CA's ({fingerprint(root)}); clients would refuse what it signs. "
            "Have the request signed under the root that they trust"
        )
    signer = Signer(chain[0], key)
    try_out(config, signer, chain, now)
    if known:
        home.add(config.home, signer, chain[1:-1])
    else:
        _add_with_root(config.home, signer, chain)
    issuer_id = key_id(public)
    folder = config.home / home.folder_of(issuer_id)
    hosts = [imports.name_of(entry) for entry in imports.common_names_as_hosts(chain)]
    return Imported(issuer_id, folder, fingerprint(root), imports.closed_purposes(chain), hosts)


def try_out(config: Config, signer: Signer, chain: Sequence[x509.Certificate], now: int) -> None:
    """Try whether clients take what an issuer signs: certificates for the CA's domains, and for the server itself.

    :param chain: the issuer's certificate, those above it, and the root.
    :param now: seconds.
    :raises CAFileError: with the reason.
    """
    constraints = name_constraints.read((imports.name_of(entry), entry) for entry in chain)
    if (refusal := permitted.refusal(config, constraints)) is not None:
        raise CAFileError(refusal)
    issuer, key = Issuer(signer, chain[-1], chain[1:-1]), keys.generate()
    leaf = issuer.issue_serving(key.public_key(), config.server.names, now + _TRIAL_SECONDS, now)
    pem = x509.load_der_x509_certificate(leaf.der).public_bytes(Encoding.PEM).decode()
    for name in config.server.names:
        imports.try_chain(chain, pem, key, name.value)


def _add_with_root(folder: Path, signer: Signer, chain: Sequence[x509.Certificate]) -> None:
    """Write the first issuer and its root; where that fails, there is neither."""
    home.replace_roots(folder, chain[-1])
    try:
        home.add(folder, signer, chain[1:-1])
    except BaseException:
        if not home.has_issuers(folder):
            (folder / home.ROOT_CERTIFICATE).unlink(missing_ok=True)
        raise


def _public(certificate: x509.Certificate) -> PublicKey:
    """The key of a certificate, if a CA may sign with it.

    :raises CAFileError: if it may not.
    """
    key = certificate.public_key()
    if (refusal := AUTHORITIES.refusal(key, certificate.public_key_algorithm_oid)) is not None:
        raise CAFileError(f"{imports.name_of(certificate)} has a key that no CA should sign with: {refusal}")
    assert isinstance(key, PublicKey)  # AUTHORITIES accepts no other
    return key


def _with_known_root(
    chain: tuple[x509.Certificate, ...], known: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """A chain with the root that the CA knows, where it ends below that."""
    if imports.is_root(chain[-1]):
        return chain
    return (*chain, *(root for root in known if is_signed_by(chain[-1], root)))[: len(chain) + 1]


def _known_roots(folder: Path) -> tuple[x509.Certificate, ...]:
    """The roots of a CA that has an issuer; one without is left by an import that was cut off."""
    return home.load_roots(folder) if home.has_issuers(folder) else ()
