"""Looking after the issuers' OCSP responders, so that no request has to wait for a new one."""

from __future__ import annotations

import logging
import time

from acme_iid.authority import Authority
from acme_iid.errors import SignerError
from acme_iid.issuance.issuer import Issuer
from acme_iid.issuance.responder import ResponderError, Responders
from acme_iid.operations.background import Background
from acme_iid.store import certificates

SECONDS = 60
"""The interval at which responders are looked at, in seconds."""
_ASK_SECONDS = 3600  # between questions to the store, which take longer the more certificates there are

_log = logging.getLogger(__name__)


class Responding(Background):
    """The thread of one process that does so.

    The responder of an issuer that no longer signs lasts as long as the last certificate under it: when the issuer is
    retired and its key destroyed, no further one can be made.
    """

    def __init__(self, authority: Authority, responders: Responders) -> None:
        super().__init__(SECONDS, first=0, fault="looking after the OCSP responders failed")
        self._authority = authority
        self._responders = responders
        self._until: dict[str, tuple[float, int]] = {}

    def turn(self) -> None:
        """Make or renew the responders that are due."""
        now = int(time.time())
        for issuer in tuple(self._authority.ca.issuers.values()):
            try:
                self._responders.of(issuer.certificate, issuer.signer, now, self._needed_until(issuer, now))
            except ResponderError as error:
                _log.error("%s", error)
            except SignerError as error:
                # The one before goes on until its end.
                self.warn("The OCSP responder was not renewed: %s", error)

    def _needed_until(self, issuer: Issuer, now: int) -> int:
        standing = self._authority.ca.standings.get(issuer.id)
        if standing is None or standing.replaced_at is None:
            return 0
        asked_at, until = self._until.get(issuer.id, (float("-inf"), 0))
        if time.monotonic() >= asked_at + _ASK_SECONDS:
            until = certificates.last_end(self._authority.database, issuer.id, now) or 0
            self._until[issuer.id] = time.monotonic(), until
        return until
