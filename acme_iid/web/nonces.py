"""Replay nonces: time, identifier and MAC, so that only spent ones need remembering (RFC 8555 section 6.5)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from acme_iid.store.nonces import ID_BYTES, SpentNonces

LIFETIME = 1800
"""Seconds for which a nonce is good."""

_TIME_BYTES, _MAC_BYTES = 5, 16


class Nonces:
    """Makes nonces and spends them, in agreement with every process that has the same key.

    :param key: the MAC key, shared by all processes and replicas.
    :param spent: where spent nonces are remembered.
    """

    def __init__(self, key: bytes, spent: SpentNonces) -> None:
        self._key = key
        self._spent = spent

    def issue(self, now: int) -> str:
        """A fresh nonce: base64url, 50 characters."""
        body = self._spent.time(now).to_bytes(_TIME_BYTES, "big") + self._spent.fresh()
        return base64.urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode()

    def spend(self, nonce: str, now: int) -> bool:
        """Whether the nonce is one of ours, not too old, and spent for the first time now."""
        try:
            raw = base64.b64decode(nonce + "=" * (-len(nonce) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return False
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(body) != _TIME_BYTES + ID_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            return False
        issued_at = int.from_bytes(body[:_TIME_BYTES], "big")
        # The identifier counts, not the text: base64 has more than one spelling of the last bits.
        return self._spent.spend(body[_TIME_BYTES:], issued_at, issued_at + LIFETIME, now)

    def _mac(self, body: bytes) -> bytes:
        # Made to be keyed (RFC 7693), and a tenth of the cost of HMAC as OpenSSL has it.
        return hashlib.blake2b(body, digest_size=_MAC_BYTES, key=self._key).digest()
