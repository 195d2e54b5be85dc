"""Asking the key of the issuer that signs whether it answers, where it is in a token or behind a program."""

from __future__ import annotations

import logging
import time

from acme_iid.errors import SignerError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import Issuer
from acme_iid.operations.background import Background
from acme_iid.signing import signers

SECONDS = 60
"""The interval at which a process asks a key, in seconds."""

_log = logging.getLogger(__name__)
# Of the process, and not of an application: one that is reloaded often asks no more often.
_asked: dict[str, tuple[float, str | None]] = {}


class SignerWatch(Background):
    """The thread of one process that does so, so that it is known also while nobody orders certificates."""

    def __init__(self, ca: CertificateAuthority) -> None:
        super().__init__(SECONDS, first=0, fault="asking the key that signs failed")
        self._ca = ca
        self._refused = False

    @property
    def answers(self) -> bool | None:
        """Whether the key answered when it was asked last, for a certificate or by this thread; waits for nothing.

        None if it is in a file, or was not asked yet.
        """
        return signers.answered(self._ca.current.signer.key)

    def turn(self) -> None:
        """Ask the key."""
        issuer = self._ca.current
        if not issuer.signs_elsewhere:
            self._refused = False
            return
        before, refusal = self._refused, _refusal(issuer)
        self._refused = refusal is not None
        if refusal is not None:
            self.warn("No certificate is issued now: %s", refusal)
        elif before:
            _log.info("The key of the issuer %s answers again.", issuer.short_id)


def _refusal(issuer: Issuer) -> str | None:
    """Why a key does not answer, in words; None if it does, or did within the last minute."""
    at, refusal = _asked.get(issuer.id, (-float("inf"), None))
    now = time.monotonic()
    if now - at >= SECONDS:
        try:
            signers.answers(issuer.signer.key)
            refusal = None
        except SignerError as error:
            refusal = str(error)
        _asked[issuer.id] = now, refusal
    return refusal
