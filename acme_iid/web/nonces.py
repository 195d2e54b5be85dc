"""Replay nonces: time, identifier and MAC, so that only spent ones need remembering (RFC 8555 section 6.5)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from acme_iid.binding import base64url, from_base64url
from acme_iid.store.nonces import ID_BYTES, SpentNonces
from acme_iid.store.writes import Question, Reader

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
        return base64url(body + self._mac(body))

    def spend(self, nonce: str, now: int) -> bool:
        """Whether the nonce is one of ours, not too old, and spent for the first time now."""
        body = self._body(nonce)
        return body is not None and self._spent.spend(*self._parts(body), now)

    def spend_asking(self, nonce: str, now: int, reader: Reader, questions: Sequence[Question]) -> Reader | None:
        """Spend the nonce as :meth:`spend` does, and ask the store some questions with it.

        :returns: a reader that has their answers; None if the nonce could not be spent.
        """
        body = self._body(nonce)
        return None if body is None else self._spent.spend_asking(*self._parts(body), now, reader, questions)

    def _body(self, nonce: str) -> bytes | None:
        """The octets of a nonce of ours that the MAC is over; None of any other."""
        try:
            raw = from_base64url(nonce)
        except ValueError:
            return None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        ours = len(body) == _TIME_BYTES + ID_BYTES and hmac.compare_digest(mac, self._mac(body))
        return body if ours else None

    @staticmethod
    def _parts(body: bytes) -> tuple[bytes, int, int]:
        """The identity of a nonce, the time at which it was made, and the time until which it is good."""
        issued_at = int.from_bytes(body[:_TIME_BYTES], "big")
        return body[_TIME_BYTES:], issued_at, issued_at + LIFETIME

    def _mac(self, body: bytes) -> bytes:
        # Made to be keyed (RFC 7693), and a tenth of the cost of HMAC as OpenSSL has it.
        return hashlib.blake2b(body, digest_size=_MAC_BYTES, key=self._key).digest()
