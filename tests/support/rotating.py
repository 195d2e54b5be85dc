"""From one issuer to the next, in a home and a store: prepared ones, and what would take years."""

from __future__ import annotations

import time
from pathlib import Path

from writing import put

from acme_iid.authority import Authority, succession
from acme_iid.issuance import ceremony, home, keys
from acme_iid.issuance.issuer import SHORT_ID_LENGTH, Signer, key_id
from acme_iid.operations import rotation
from acme_iid.store.writes import Committing, Statement

YEAR = 365 * 86400


def prepare(folder: Path, lifetime: int = 5 * YEAR, begins: int = 0) -> str:
    """Have the root in a home sign another issuer; the beginning of its id.

    :param lifetime: seconds from now.
    :param begins: when it begins to be valid, seconds from now.
    """
    root = Signer(home.load_certificate(folder / home.ROOT_CERTIFICATE), keys.load(folder / home.ROOT_KEY, None))
    made = ceremony.create_intermediate(root, "Next", int(time.time()) + begins, None, lifetime - begins)
    issuer_id = key_id(made.certificate.public_key())
    home.keep_key(folder, made.key, None, waiting=False)
    home.add(folder, made, ())
    return issuer_id[:SHORT_ID_LENGTH]


def key_file(folder: Path, short_id: str) -> Path:
    """The file of an issuer's key."""
    return folder / home.key_file_of(short_id)


def activate(authority: Authority, short_id: str, *, compromised: bool = False) -> str:
    """Have an issuer sign, in the store and in an authority that has taken up its files; the former one's id."""
    config, database = authority.config, authority.database
    now = int(time.time())
    activated = rotation.activate(config, database, short_id, None, now, compromised=compromised)
    succession.follow(database, authority.ca)
    return activated.former


def settle(authority: Authority, seconds: int = 3600) -> None:
    """Have what happened to issuers be so many seconds ago, also for the authority."""
    pass_time(authority.database, seconds)
    succession.follow(authority.database, authority.ca)


def pass_time(database: Committing, seconds: int = 3600) -> None:
    """Have what happened to issuers be so many seconds ago."""
    for column in ("activated_at", "compromised_at", "retired_at"):
        text = f"UPDATE issuers SET {column} = {column} - :seconds"  # noqa: S608 - our own words
        put(database, Statement(text, {"seconds": seconds}))


def end_certificates(database: Committing, issuer_id: str) -> None:
    """Have the certificates of an issuer be a year older, so that all have ended.

    :param issuer_id: the whole id.
    """
    text = """UPDATE certificates SET not_before = not_before - :year, not_after = not_after - :year
              WHERE issuer_id = :issuer_id"""
    put(database, Statement(text, {"year": YEAR, "issuer_id": issuer_id}))


def reload(authority: Authority) -> None:
    """Take up the files in an authority's home, as SIGHUP does."""
    ca = home.load(authority.config.home)
    authority.ca.issuers = ca.issuers
    succession.follow(authority.database, authority.ca)
