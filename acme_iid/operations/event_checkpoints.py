"""Verifying that a checkpoint of the events was signed by an issuer of this CA, as its home knows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from acme_iid.issuance import checkpoints as signatures
from acme_iid.issuance import home
from acme_iid.issuance.issuer import SHORT_ID_LENGTH
from acme_iid.store import issuers
from acme_iid.store.checkpoints import Checkpoint
from acme_iid.store.events import BrokenChainError
from acme_iid.store.writes import Reader


def verify(folder: Path, reader: Reader, checkpoint: Checkpoint) -> None:
    """Verify a checkpoint. Whoever writes to the store can write what they like there, but has no issuer's key.

    :param folder: the CA's home, whose roots are believed.
    :raises BrokenChainError: if no issuer below them has signed it, or it says something else than its row.
    :raises CAFileError: if a file of the home cannot be used.
    """
    seq, issuer_id = checkpoint.place.seq, checkpoint.issuer_id
    issuer = signatures.issuer_in(_chains(folder, reader, issuer_id), home.load_roots(folder), issuer_id)
    if issuer is None:
        raise BrokenChainError(
            f"the checkpoint at event {seq} names the issuer {issuer_id[:SHORT_ID_LENGTH]}, which no root of this home "
            "leads to"
        )
    if not signatures.is_signed(checkpoint.statement, checkpoint.signature, issuer):
        raise BrokenChainError(f"the checkpoint at event {seq} was not signed by the issuer that it names")
    facts = signatures.facts_of(checkpoint.statement)
    if (facts.get("seq"), facts.get("hash"), facts.get("issuer")) != (*checkpoint.place, issuer_id):
        raise BrokenChainError(f"the checkpoint at event {seq} was signed for another place")


def _chains(folder: Path, reader: Reader, issuer_id: str) -> Iterator[tuple[x509.Certificate, ...]]:
    """What may be the chain of an issuer: those in the home; for one that is retired, what the store has of it."""
    yield from home.chains(folder)
    stored, chain = issuers.get(reader, issuer_id), issuers.chain(reader, issuer_id)
    if stored is not None and chain:
        yield tuple(x509.load_pem_x509_certificates(chain.encode()))


def file_of(checkpoint: Checkpoint) -> str:
    """The name of the file that has the events of its segment."""
    return str(signatures.facts_of(checkpoint.statement).get("file"))
