"""The only wiring: a configuration becomes a Flask application."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from acme_iid.attestation.registry import TRUST, trust_store
from acme_iid.attestation.trust import TrustStore
from acme_iid.authority import Authority
from acme_iid.authority.validations import Validations
from acme_iid.config import permitted
from acme_iid.config.settings import Config
from acme_iid.issuance import alternates, home
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.responder import Responders
from acme_iid.operations import roots
from acme_iid.operations.background import Background
from acme_iid.operations.event_retention import Removing
from acme_iid.operations.expiry import ExpiryWatch
from acme_iid.operations.fleet_sampling import Sampling
from acme_iid.operations.follower import Following
from acme_iid.operations.gauges import StoreGauges
from acme_iid.operations.presence import Presence
from acme_iid.operations.pruning import Pruning
from acme_iid.operations.readiness import Readiness
from acme_iid.operations.responding import Responding
from acme_iid.operations.signer_watch import SignerWatch
from acme_iid.operations.sinks import Receiver, Sending
from acme_iid.signing import signers
from acme_iid.store import fence, nonces
from acme_iid.store.batches import Batches, LoopStore
from acme_iid.store.database import Database, connect, open_store
from acme_iid.store.health import WatchedStore
from acme_iid.telemetry import counting, instruments
from acme_iid.web import certificate_status, probes, problems, public, root_lists
from acme_iid.web.acme import Resources, further_headers
from acme_iid.web.ahead import Ahead, KnownAccounts
from acme_iid.web.application import Application
from acme_iid.web.capacity import MOST
from acme_iid.web.direct import Door
from acme_iid.web.jws import Gate
from acme_iid.web.links import Links
from acme_iid.web.nonces import Nonces
from acme_iid.web.pool import Pool

MOST_STATUS = 64
"""Requests by plain HTTP that are inside one process at a time."""
_REFRESH_SECONDS = 30


class _Refreshing(Background):
    """The thread that replaces fetched key sets before they are stale, so that no request has to wait for a fetch.

    It shows their ages, too.
    """

    def __init__(self, trust: TrustStore) -> None:
        super().__init__(_REFRESH_SECONDS, first=0, fault="replacing fetched key sets failed")
        self._trust = trust

    def turn(self) -> None:
        """Replace those that are about to be stale."""
        now = int(time.time())
        self._trust.refresh_if_due(now)
        for cloud, age in zip(TRUST, self._trust.ages(now), strict=True):
            instruments.KEY_SET_AGE.set(age, cloud)


def _spent_nonces(config: Config, database: Database) -> nonces.SpentNonces:
    if config.store.path is not None:
        return nonces.NonceFile(config.store.path.parent / "nonces")
    from acme_iid.store.nonce_table import NonceTable  # noqa: PLC0415 - SQLite needs no psycopg
    from acme_iid.store.postgresql import PostgreSQL  # noqa: PLC0415 - as above

    assert isinstance(database, PostgreSQL)
    return NonceTable(database)


def _close_keys(ca: CertificateAuthority) -> None:
    """End the processes that are asked for signatures, as far as no other application's keys need them."""
    for issuer in ca.issuers.values():
        signers.close(issuer.signer.key)


def _look(database: Database, prober: Database | None) -> Callable[[], object]:
    """What asks the store whether it answers this process, and lets it write, and has the same time.

    :param prober: the store by a connection of its own, where it is on another machine.
    """
    if prober is None:
        return partial(fence.require, database)
    from acme_iid.store.postgresql import PostgreSQL  # noqa: PLC0415 - SQLite needs no psycopg

    assert isinstance(prober, PostgreSQL)
    remote = prober

    def look() -> None:
        remote.require_right_clock()
        fence.require(remote)

    return look


def _beside(app: Application, name: str) -> Application:
    """An application by plain HTTP beside the one that has ACME; it ends with that."""
    beside = Application(name, most=MOST_STATUS)
    beside.ca = app.ca
    app.at_end(beside.close)
    return beside


def _metrics(app: Application, gauges: StoreGauges, readiness: Readiness) -> Application:
    """The application for Prometheus; those who balance loads find what they need in both."""
    metrics = _beside(app, "acme_iid_metrics")
    metrics.register_blueprint(probes.metrics(gauges.values))
    metrics.register_error_handler(Exception, problems.response_of)
    for shown in (app, metrics):
        probes.add_probes(shown, readiness.reasons)
    return metrics


def create_app(config: Config, password: str | None = None, *, most: int = MOST) -> Application:
    """The application of the CA in ``config.home``; its ``close`` ends what it has begun.

    :param password: of the intermediate's private key, if it is encrypted.
    :param most: the largest number of requests that are inside at a time.
    :raises CAFileError, ValueError, OSError: if a key cannot be loaded.
    :raises ConfigError: if the chain of the issuer that signs does not permit the CA's domains, or its own names.
    :raises StoreUnavailableError: if the store cannot be opened.
    """
    trust = trust_store(config.given_keys)
    database = open_store(config.store.url, config.store.connections)
    try:
        ca = roots.load(config, database, password, int(time.time()))
        permitted.require(config, ca.current.constraints)
        # Of retired issuers, too: their certificates may last longer.
        own = home.issuing_certificates(config.home) if config.ca.alternate_chains else ()
        chains = tuple(alternates.load(path, own) for path in config.ca.alternate_chains)
        # The issuer that signs can become another one while this runs.
        config = replace(config, constraints=lambda: ca.current.constraints)
        spent = _spent_nonces(config, database)
        key = nonces.mac_key(database)
        receivers = [Receiver(sink) for sink in config.sinks]
    except BaseException:
        database.close()
        raise
    remote = config.store.path is None
    prober = connect(config.store.url, 1) if remote else None
    watched = WatchedStore(database, prober)
    batches = None if remote else Batches(watched)
    store = watched if batches is None else LoopStore(watched, batches)
    authority = Authority(config, store, ca, trust, alternates=chains)
    links = Links(config.server.url, config.server.former_urls)
    ahead = Ahead(config.limits) if remote else None
    gate = Gate(database, links, Nonces(key, spent), KnownAccounts(database), config.ca.account_algorithms, ahead)
    pool = Pool(remote=remote)
    app = Application("acme_iid", pool, most=most, further=further_headers(gate))
    app.ca = ca
    Resources(authority, Door(gate, pool, store, batches, config.server.proxies, ca)).add_to(app)
    signer = SignerWatch(ca)
    app.register_blueprint(public.blueprint(authority, watched, signer))
    responders = Responders(config.home, password)
    # Without the redirections, the directory and all else that ACME has.
    app.status = _beside(app, "acme_iid_status")
    readiness = Readiness(_look(database, prober), lambda: signer.answers is False)
    app.at_leaving(readiness.drain)
    app.metrics = _metrics(app, StoreGauges(config.location, watched, config.sink_names, readiness.reasons), readiness)
    counting.begin(config.names)
    for shown in (app, app.status):
        shown.register_blueprint(root_lists.blueprint(authority))
        if config.shows_status:
            shown.register_blueprint(certificate_status.blueprint(authority, responders))
        shown.register_error_handler(Exception, problems.response_of)
    app.at_end(watched.close)
    app.at_end(spent.close)
    # After all that asks for signatures. A process that ends does not come to its applications' ends.
    app.at_end(partial(_close_keys, ca))
    app.at_stop(partial(_close_keys, ca))
    # By itself: it says goodbye when the loop has ended.
    presence = Presence(authority, watched)
    app.at_stop(presence.stop)
    threads: list[Background | Validations] = [
        _Refreshing(trust),
        Validations(authority, links),
        Pruning(authority),
        Removing(authority),
        Following(store),
        Sampling(store),
        ExpiryWatch(authority),
        presence,
        signer,
        readiness,
        *([Responding(authority, responders)] if config.shows_status else []),
        *(Sending(store, receiver) for receiver in receivers),
    ]
    for thread in threads:
        thread.start()
        app.at_end(thread.stop)
    return app
