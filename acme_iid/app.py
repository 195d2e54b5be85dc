"""The only wiring: a configuration becomes a Flask application."""

from __future__ import annotations

import flask

from acme_iid.attestation.trust import TrustStore
from acme_iid.authority import Authority
from acme_iid.config import Config
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.store import nonces
from acme_iid.store.database import open_store
from acme_iid.web import problems, public
from acme_iid.web.acme import Resources
from acme_iid.web.jws import Gate
from acme_iid.web.links import Links
from acme_iid.web.nonces import Nonces


def trust_store(config: Config) -> TrustStore:
    """The pinned keys, and those that the provisioners' ``iid_roots`` hold.

    :raises ValueError: if a file holds no usable key.
    :raises OSError: if a file cannot be read.
    """
    return TrustStore.load(
        {
            provisioner.name: provisioner.iid_roots.read_bytes()
            for provisioner in config.provisioners
            if provisioner.iid_roots is not None
        }
    )


def create_app(config: Config, password: str | None = None) -> flask.Flask:
    """The application of the CA in ``config.home``.

    :param password: of the intermediate's private key, if it is encrypted.
    :raises CAFileError, ValueError, OSError: if a key cannot be loaded.
    :raises StoreUnavailableError: if the store cannot be opened.
    """
    database = open_store(config.store.path)
    authority = Authority(config, database, CertificateAuthority.load(config.home, password), trust_store(config))
    gate = Gate(
        database,
        Links(config.server.url),
        Nonces(nonces.mac_key(database), nonces.open_spent(config.store.path.parent)),
    )
    app = flask.Flask("acme_iid", static_folder=None)
    app.register_blueprint(Resources(authority, gate).blueprint())
    app.register_blueprint(public.blueprint(authority))
    app.register_error_handler(Exception, problems.of_exception)
    return app
