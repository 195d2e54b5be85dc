"""Which issuer signs: the store says so, and every server follows within seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.authority import succession
from acme_iid.config import permitted
from acme_iid.config.settings import Config
from acme_iid.errors import RequestError
from acme_iid.issuance import home, name_constraints
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import SHORT_ID_LENGTH, key_id
from acme_iid.issuance.roots import to_pem
from acme_iid.store import issuers
from acme_iid.store.database import Database
from acme_iid.store.existing import existing
from acme_iid.store.writes import Reader, Statement, Write, perform


def begin(database: Database, ca: CertificateAuthority, now: int) -> None:
    """Note the issuers of a server that starts, and have it sign with the one that the store says.

    The first server of a CA activates its issuer.

    :param now: seconds.
    :raises CAFileError: if the key of the issuer that signs is not in the home.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    perform(database, partial(_note, ca=ca, now=now))
    succession.follow(database, ca)


def _note(reader: Reader, ca: CertificateAuthority, now: int) -> Write[None]:
    statements: list[Statement] = [
        issuers.note(issuer.id, issuer.certificate.public_bytes(Encoding.DER), issuer.chain_pem, now)
        for issuer in ca.issuers.values()
        if issuers.chain(reader, issuer.id) != issuer.chain_pem
    ]
    if issuers.signing(reader) is None:
        statements.append(issuers.activate_first(ca.current.id, now))
    return Write(statements, lambda _rows: None)


def noted(chain: Sequence[x509.Certificate], now: int) -> Statement:
    """Note an issuer of the home in the store.

    :param chain: its certificate, those above it, and the root.
    """
    pem = to_pem(*chain[:-1])
    return issuers.note(key_id(chain[0].public_key()), chain[0].public_bytes(Encoding.DER), pem, now)


def chosen(config: Config, short_id: str | None = None) -> tuple[x509.Certificate, ...]:
    """Return an issuer's certificate, those above it, and the root; no server has to run, and no key is touched.

    :param short_id: the beginning of its id; None for the issuer that signs.
    :raises RequestError: if there is no such issuer in the home, or several.
    :raises CAFileError: if a file of the issuers cannot be read.
    :raises StoreUnavailableError: if only the store knows, and it cannot be used now.
    """
    chains = sorted(home.chains(config.home), key=lambda chain: chain[0].not_valid_before_utc)
    if not chains:
        raise home.no_issuer(config.home)
    # Before any server has started, the first one that was made is the one that signs.
    wanted = (_signing(config) if len(chains) > 1 else None) if short_id is None else short_id
    if wanted is None:
        return chains[0]
    found = [chain for chain in chains if wanted and key_id(chain[0].public_key()).startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise RequestError(f"{len(found)} issuers begin with {wanted!r}; give more of the id")
    raise RequestError(
        f"there is no issuer {wanted[:SHORT_ID_LENGTH]!r} in {config.home / home.FOLDER}; 'acme-iid-ca issuer list' "
        "lists those that there are"
    )


def require_permitting(config: Config) -> None:
    """Refuse a ca.toml that promises more than the chain of the issuer that signs permits.

    :raises ConfigError: with what and the remedy.
    :raises CAFileError, StoreUnavailableError: as :func:`chosen` does.
    """
    if home.has_issuers(config.home):
        issuer, *above, root = chosen(config)
        permitted.require(config, name_constraints.of_chain(issuer, above, root))


def _signing(config: Config) -> str | None:
    """The id of the issuer that signs; None before the first server has started."""
    with existing(config.store.url) as database:
        return None if database is None else issuers.signing(database)
