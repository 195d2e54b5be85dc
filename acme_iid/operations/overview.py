"""What ``issuer status`` shows: every certificate from the issuers up to the roots, and the lists that they sign.

The keys of issuers that are in a token or behind a program are asked for one signature each, if they still sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from acme_iid.issuance import home, responder
from acme_iid.issuance.issuer import SHORT_ID_LENGTH, key_id
from acme_iid.issuance.name_constraints import described
from acme_iid.operations import expiry, issuer_keys
from acme_iid.operations.expiry import Lifetime
from acme_iid.operations.presence import SEEN_SECONDS
from acme_iid.protocol.standing import Standing, State
from acme_iid.store import issuers, servers
from acme_iid.store.issuers import StoredIssuer
from acme_iid.store.servers import Server
from acme_iid.store.writes import Reader


@dataclass(frozen=True, slots=True)
class Line:
    """One certificate or list.

    :ivar id: the beginning of an issuer's id, or of a root's fingerprint; None for others.
    :ivar state: an issuer's; None for others.
    :ivar key: where its key is; None for a list.
    :ivar servers: the ids of the servers that run and hold an issuer's key; None for others.
    :ivar answers: whether the key of an issuer gave a signature; None for keys that were not asked: those in files, and
        those of retired issuers.
    :ivar fault: why an OCSP responder is of no use, or an issuer's key does not answer; None for others, and while
        there is no fault.
    :ivar warning: the threshold that the rest of its life has come to, in percent; None while there is time.
    """

    lifetime: Lifetime
    id: str | None
    state: State | None
    key: str | None
    servers: tuple[str, ...] | None
    warning: int | None
    constraints: tuple[str, ...]
    fault: str | None = None
    answers: bool | None = None


def overview(folder: Path, reader: Reader | None, now: int, *, without_keys: bool = False) -> list[Line]:
    """Every certificate in a CA's home, each issuer followed by those above it, and then the lists.

    :param reader: the CA's store; None if there is none yet.
    :param now: seconds.
    :param without_keys: whether no key may be asked, and no file with one opened.
    :raises CAFileError: if the home's certificates cannot be read.
    """
    entries = [] if reader is None else issuers.every(reader)
    standings = issuers.standings(entries)
    running = [] if reader is None else servers.seen(reader, now, SEEN_SECONDS)
    chains = home.chains(folder) if home.has_issuers(folder) else ()
    here = {key_id(chain[0].public_key()) for chain in chains}
    asked = [chain[0] for chain in chains if _needs_key(standings.get(key_id(chain[0].public_key())))]
    faults = {} if without_keys else issuer_keys.ask(folder, asked)
    lines = [line for chain in chains for line in _of_chain(folder, chain, standings, running, now, faults)]
    lines += [line for chain in chains for line in _of_responder(folder, chain[0], now, without_keys)]
    lines += [_of_stored(entry, standings, running, now) for entry in entries if entry.id not in here]
    return [*lines, *(_of_list(entry, now) for entry in expiry.lifetimes(folder, reader) if "list" in entry.role)]


def _of_chain(
    folder: Path,
    chain: Sequence[x509.Certificate],
    standings: dict[str, Standing],
    running: Sequence[Server],
    now: int,
    faults: Mapping[str, str | None],
) -> Iterator[Line]:
    for place, certificate in enumerate(chain):
        role = expiry.role_in(chain, place)
        lifetime = expiry.of_certificate(role, certificate)
        identity, state, holding, fault, answers = None, None, None, None, None
        key = "elsewhere"
        if role == "issuer":
            identity = key_id(certificate.public_key())
            state = standings.get(identity, Standing()).state
            holding = _holding(running, identity)
            key = str(home.key_place(folder, identity))
            if not home.has_key(folder, identity):
                key += " (missing)"
            if identity in faults:
                fault = faults[identity]
                answers = fault is None
        elif role == "root":
            identity = lifetime.subject
            if (folder / home.ROOT_KEY).exists():
                key = f"file:{folder / home.ROOT_KEY}"
        yield Line(
            lifetime,
            None if identity is None else identity[:SHORT_ID_LENGTH],
            state,
            key,
            holding,
            expiry.percent_left(lifetime.begins, lifetime.ends, now),
            tuple(described(certificate)),
            fault,
            answers,
        )


def _needs_key(standing: Standing | None) -> bool:
    return standing is None or standing.retired_at is None


def _of_responder(folder: Path, issuer: x509.Certificate, now: int, without_keys: bool) -> Iterator[Line]:
    certificate, fault = responder.look(folder, issuer, now, without_keys=without_keys)
    identity = key_id(issuer.public_key())
    if certificate is None and fault is None:
        return
    if certificate is None:
        lifetime = Lifetime("responder", "", f"of the issuer {identity[:SHORT_ID_LENGTH]}", now, now)
    else:
        lifetime = expiry.of_responder(issuer, certificate)
    warning = expiry.percent_left(lifetime.begins, lifetime.ends, now)
    yield Line(lifetime, None, None, f"file:{folder / responder.file_of(identity)}", None, warning, (), fault)


def _of_stored(entry: StoredIssuer, standings: dict[str, Standing], running: Sequence[Server], now: int) -> Line:
    """An issuer whose files are not in the home: it is retired, or another server's."""
    certificate = x509.load_der_x509_certificate(entry.certificate)
    lifetime = expiry.of_certificate("issuer", certificate)
    return Line(
        lifetime,
        entry.id[:SHORT_ID_LENGTH],
        standings[entry.id].state,
        "elsewhere",
        _holding(running, entry.id),
        expiry.percent_left(lifetime.begins, lifetime.ends, now),
        tuple(described(certificate)),
    )


def _holding(running: Sequence[Server], issuer_id: str) -> tuple[str, ...]:
    return tuple(server.id for server in running if issuer_id in server.issuers)


def _of_list(lifetime: Lifetime, now: int) -> Line:
    warning = expiry.percent_left(lifetime.begins, lifetime.ends, now)
    return Line(lifetime, None, None, None, None, warning, ())
