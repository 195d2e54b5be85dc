"""From one intermediate to the next: prepared in the home, activated in the store, retired with a last list."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from cryptography import x509

from acme_iid.config import permitted
from acme_iid.config.settings import Config
from acme_iid.durable import write_new
from acme_iid.errors import RequestError
from acme_iid.issuance import home, name_constraints
from acme_iid.issuance.issuer import Signer, key_id
from acme_iid.operations import founding
from acme_iid.operations import issuers as issuing
from acme_iid.operations.founding import Wishes
from acme_iid.operations.presence import SEEN_SECONDS
from acme_iid.signing import signers
from acme_iid.store import issuers, servers
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.writes import Reader, Write, perform

_SAME_END = timedelta(days=1)
"""By how much an issuer may end before the one that signs: two that were made for one lifetime differ by a minute."""
_LEAST_LIVES = 2
"""The lives of leaves that a new issuer has to last, at least: it could not issue a whole one otherwise."""


def prepare(config: Config, wishes: Wishes, root: Signer, now: int) -> str:
    """Make the next intermediate under a root of the CA; it signs nothing until it is activated.

    :param now: seconds.
    :returns: the new issuer's id.
    :raises CAFileError: if the root is none of the CA's, or cannot sign it.
    :raises SignerError: if the key is not to be in a file, and its place does not answer.
    :raises OSError: if a file cannot be written.
    """
    if root.certificate not in home.load_roots(config.home):
        raise RequestError(
            "the root is not among this CA's roots, so that clients would refuse what the new issuer signs; give the "
            "root in certs/root_ca.crt"
        )
    intermediate = founding.tried_intermediate(config, wishes, root, now)
    issuer_id = key_id(intermediate.certificate.public_key())
    # The key first: one without a certificate is in nobody's way.
    home.keep_key(config.home, intermediate.key, wishes.password, waiting=False)
    home.add(config.home, intermediate, ())
    return issuer_id


def request(config: Config, wishes: Wishes, path: Path) -> str:
    """Make the key of the next intermediate, and write the request for a root that is elsewhere to a new file.

    :returns: the new issuer's id.
    :raises RequestError: if the file exists.
    :raises SignerError: as :func:`prepare` does.
    :raises OSError: if a file cannot be written.
    """
    if os.path.lexists(path):
        raise RequestError(f"{path} exists; choose another file")
    key, csr = founding.next_request(wishes)
    # The key first: its certificate would be of no use without it.
    home.keep_key(config.home, key, wishes.password, waiting=True)
    try:
        write_new(path, csr, 0o644)
    except FileExistsError as error:
        raise RequestError(f"{path} exists by now; choose another file") from error
    return key_id(key.public_key())


@dataclass(frozen=True, slots=True)
class Activated:
    """An issuer that signs from now on.

    :ivar former: the id of the one that did.
    :ivar unlisted: the domains that it permits and ``[ca] domains`` does not list.
    """

    id: str
    former: str
    unlisted: tuple[str, ...]


def activate(
    config: Config, database: Database, short_id: str, password: str | None, now: int, *, compromised: bool = False
) -> Activated:
    """Have a prepared issuer sign in the place of the one that does.

    :param short_id: the beginning of its id.
    :param password: of its key, which is looked at if no server runs that could say that it has it.
    :param now: seconds.
    :param compromised: whether the former issuer's key was stolen. It may then be replaced by one that ends before it.
    :raises RequestError: if it is not prepared, is not valid yet, ends too soon, or a server that runs lacks its key.
    :raises ConfigError: if its chain does not permit the CA's domains, or the server's own names.
    :raises CAFileError: if no server runs, and the key in the home cannot be used.
    :raises SignerError: if no server runs, and the key is elsewhere and does not answer.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    chain = issuing.chosen(config, short_id)
    constraints = name_constraints.of_chain(chain[0], chain[1:-1], chain[-1])
    permitted.require(config, constraints)
    if not servers.seen(database, now, SEEN_SECONDS):
        signers.answers(home.load_issuer(config.home, key_id(chain[0].public_key()), password).signer.key)
    write = partial(_activate, config=config, chain=chain, now=now, compromised=compromised)
    former = perform(database, write)
    return Activated(key_id(chain[0].public_key()), former, permitted.unlisted(config, constraints))


def _activate(
    reader: Reader, config: Config, chain: Sequence[x509.Certificate], now: int, *, compromised: bool
) -> Write[str]:
    issuer_id = key_id(chain[0].public_key())
    stored = {entry.id: entry for entry in issuers.every(reader)}
    signing = issuers.signing(reader)
    if signing is None:
        raise RequestError("no server of this CA has ever started; the first one activates its issuer by itself")
    if signing == issuer_id:
        raise RequestError("this issuer signs already")
    entry = stored.get(issuer_id)
    if entry is not None and entry.compromised_at is not None:
        raise RequestError("this issuer's key was stolen, and it can never sign; prepare a new one")
    if entry is not None and (entry.activated_at is not None or entry.retired_at is not None):
        raise RequestError("this issuer was activated before, and another one has taken its place; prepare a new one")
    _require_lasting(config, chain, now)
    former = x509.load_der_x509_certificate(stored[signing].certificate)
    if not compromised and chain[0].not_valid_after_utc < former.not_valid_after_utc - _SAME_END:
        raise RequestError(
            "the issuer ends before the one that signs now, so that it would be no step forward; have it signed for a "
            "longer time"
        )
    lacking = [server.id for server in servers.seen(reader, now, SEEN_SECONDS) if issuer_id not in server.issuers]
    if lacking:
        raise RequestError(
            f"{len(lacking)} of the servers that run lack the issuer's key: {', '.join(lacking)}. Copy its folder in "
            "issuers/ and its key into their homes, and reload them (SIGHUP)"
        )
    statements = [issuing.noted(chain, now), issuers.activate(issuer_id, signing, now)]
    events = [Event("issuer.activated", now, detail={"issuer": issuer_id, "former": signing})]
    if compromised:
        statements.append(issuers.compromise(signing, stored[signing].activated_at, now))
        events.append(Event("issuer.compromised", now, detail={"issuer": signing}))
    return Write(statements, lambda _rows: signing, events)


def _require_lasting(config: Config, chain: Sequence[x509.Certificate], now: int) -> None:
    """Refuse an issuer under which certificates would not be valid yet, or soon be cut short."""
    begins = max(entry.not_valid_before_utc for entry in chain).timestamp()
    if begins > now:
        raise RequestError(
            f"the issuer is not valid for another {int(begins - now)} seconds, and nobody would take what it signs; "
            "wait until then"
        )
    ends = min(entry.not_valid_after_utc for entry in chain).timestamp()
    lives = _LEAST_LIVES * max(profile.lifetimes.maximum for profile in (config.default_profile, *config.profiles))
    if ends < now + lives:
        raise RequestError(
            f"the issuer ends in {max(0, int(ends - now)) // 3600} hours, which is less than {_LEAST_LIVES} lives of "
            "the longest certificate; have it signed for a longer time"
        )
