"""The only wiring: a configuration becomes a Flask application."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from functools import partial

import flask
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.attestation.trust import TrustStore
from acme_iid.authority import Authority
from acme_iid.authority.following import Following
from acme_iid.authority.presence import Presence
from acme_iid.authority.pruning import Pruning
from acme_iid.authority.validations import Validations
from acme_iid.config import Config
from acme_iid.issuance import alternates
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.sources import trust_store
from acme_iid.store import certificates, nonces
from acme_iid.store.database import Database, connect, open_store
from acme_iid.store.health import WatchedStore
from acme_iid.store.writes import Reader, Write, perform
from acme_iid.web import certificate_status, problems, public
from acme_iid.web.acme import Resources
from acme_iid.web.ahead import Ahead
from acme_iid.web.application import Application, Shortcut
from acme_iid.web.jws import Gate
from acme_iid.web.links import Links
from acme_iid.web.nonces import Nonces
from acme_iid.web.turns import Turns

_REFRESH_SECONDS = 30


def _keep_fresh(trust: TrustStore) -> None:
    """Replace fetched key sets before they are stale, so that no request has to wait for a fetch."""
    while True:
        time.sleep(_REFRESH_SECONDS)
        trust.refresh_if_due(int(time.time()))


def _spent_nonces(config: Config, database: Database) -> nonces.SpentNonces:
    if config.store.path is not None:
        return nonces.NonceFile(config.store.path.parent / "nonces")
    from acme_iid.store.nonce_table import NonceTable  # noqa: PLC0415 - who has SQLite needs no psycopg
    from acme_iid.store.postgresql import PostgreSQL  # noqa: PLC0415 - as above

    assert isinstance(database, PostgreSQL)
    return NonceTable(database)


def _note_issuer(reader: Reader, ca: CertificateAuthority) -> Write[None]:
    """Have the store know the issuer, whose chain its certificates are handed out with, also when it was replaced."""
    known = certificates.issuer_chain(reader, ca.issuer_id) == ca.intermediate_pem
    der = ca.intermediate.public_bytes(Encoding.DER)
    statement = certificates.add_issuer(ca.issuer_id, der, ca.intermediate_pem, int(time.time()))
    return Write([] if known else [statement], lambda _rows: None)


def create_app(config: Config, password: str | None = None) -> flask.Flask:
    """The application of the CA in ``config.home``.

    :param password: of the intermediate's private key, if it is encrypted.
    :raises CAFileError, ValueError, OSError: if a key cannot be loaded.
    :raises StoreUnavailableError: if the store cannot be opened.
    """
    database = open_store(config.store.url, config.store.connections)
    trust = trust_store(config.trust)
    ca = CertificateAuthority.load(config.home, password)
    chains = tuple(alternates.load(path, ca.intermediate) for path in config.ca.alternate_chains)
    perform(database, partial(_note_issuer, ca=ca))
    store = WatchedStore(database, None if config.store.path is not None else connect(config.store.url, 1))
    authority = Authority(config, store, ca, trust, alternates=chains)
    threading.Thread(target=_keep_fresh, args=(trust,), daemon=True).start()
    links = Links(config.server.url, config.server.former_urls)
    gate = Gate(
        database,
        links,
        Nonces(nonces.mac_key(database), _spent_nonces(config, database)),
        config.ca.account_algorithms,
        None if config.store.path is not None else Ahead(config.limits),
    )
    shortcut = Shortcut("/acme/")
    app = Application("acme_iid", shortcut)
    # With a database on another machine a request waits more than it computes.
    turns = nullcontext() if config.store.path is None else Turns()
    app.register_blueprint(Resources(authority, gate, turns).blueprint(shortcut))
    app.register_blueprint(public.blueprint(authority, store))
    if config.ca.crl:
        app.register_blueprint(certificate_status.blueprint(authority))
    app.register_error_handler(Exception, problems.response_of)
    # Last, since an app that is made for trial only ends right after this, and should take no attempt with it.
    Validations(authority, links).start()
    Pruning(authority).start()
    Following(store).start()
    Presence(authority).start()
    return app
