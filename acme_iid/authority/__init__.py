"""The use cases: what a request or an operator can make happen, and what is committed together.

Each function reads what it needs, decides, and writes in one transaction whose statements carry their
conditions. Its parameters are in one order: the authority (or the part of it that counts), the request's context,
the reader, and then what the use case is about. The time, in seconds, is in the context, or comes last as ``now``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from acme_iid.attestation.trust import TrustStore
from acme_iid.authority.list_turns import ListTurns
from acme_iid.config.settings import Config
from acme_iid.issuance.alternates import AlternateChain
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.store.database import Database


@dataclass(frozen=True, slots=True)
class Authority:
    """The context of all use cases: the settings in force, the store, the signing keys and the trusted ones.

    :ivar alternates: the chains from the issuers to other roots than ours.
    :ivar validation_requested: set when a client has asked for a standard challenge to be validated.
    :ivar list_turns: who signs revocation lists in this process.
    """

    config: Config
    database: Database
    ca: CertificateAuthority
    trust: TrustStore
    alternates: tuple[AlternateChain, ...] = ()
    validation_requested: threading.Event = field(default_factory=threading.Event)
    list_turns: ListTurns = field(default_factory=ListTurns)
