"""The nonces of all replicas, in a table of PostgreSQL's (rfc-notes/decisions/0003-spent-nonces.md)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from acme_iid.store.clock import MAX_SECONDS_OFF
from acme_iid.store.nonces import ID_BYTES
from acme_iid.store.postgresql import PostgreSQL
from acme_iid.store.writes import Answered, Question, Reader

_KEPT_SECONDS = 3600
_EPOCH_BYTES = 8
_FORGET_ONE_IN = 256
_FORGOTTEN_AT_ONCE = 1000


class NonceTable:
    """The nonces of all replicas: spent in one statement, not waiting for the disk.

    The nonces that were spent last are forgotten when the database server crashes, or another takes over. Both tables
    are unlogged, and are emptied then; so the epoch, which is in each nonce, is over, and nonces of before are refused
    (rfc-notes/decisions/0003-spent-nonces.md; PostgreSQL's manual, "The Initialization Fork").

    :raises StoreUnavailableError: if the store cannot answer now.
    """

    def __init__(self, database: PostgreSQL) -> None:
        self._database = database
        self._epoch = self._current_epoch()

    def _current_epoch(self) -> bytes:
        """The epoch, made if the store has no epoch yet; the server's time comes with it."""
        rows = self._database.rows(
            "SELECT epoch, extract(epoch FROM clock_timestamp())::float8 AS time FROM nonce_epochs WHERE id = 1"
        )
        if not rows:
            # Of replicas that find none, all get the one that was put in first.
            rows, _ = self._database.run_alone(
                """INSERT INTO nonce_epochs (id, epoch) VALUES (1, :epoch)
                   ON CONFLICT (id) DO UPDATE SET epoch = nonce_epochs.epoch
                   RETURNING epoch, extract(epoch FROM clock_timestamp())::float8 AS time""",
                epoch=secrets.token_hex(_EPOCH_BYTES),
            )
        self._database.clock.set(rows[0]["time"])
        return bytes.fromhex(rows[0]["epoch"])

    def fresh(self) -> bytes:
        """See :meth:`~acme_iid.store.nonces.SpentNonces.fresh`."""
        return self._epoch + secrets.token_bytes(ID_BYTES - _EPOCH_BYTES)

    def time(self, now: int) -> int:
        """See :meth:`~acme_iid.store.nonces.SpentNonces.time`: the server's clock dates them."""
        return int(now - self._database.clock.ahead())

    def spend(self, identifier: bytes, issued_at: int, expires_at: int, now: int) -> bool:
        """See :meth:`~acme_iid.store.nonces.SpentNonces.spend`; by the server's clock, also against the future.

        One whose outcome was lost with a connection counts as spent: the client uses another.
        """
        return self.spend_asking(identifier, issued_at, expires_at, now, self._database, ()) is not None

    def spend_asking(
        self,
        identifier: bytes,
        issued_at: int,
        expires_at: int,
        now: int,
        reader: Reader,
        questions: Sequence[Question],
    ) -> Reader | None:
        """See :meth:`~acme_iid.store.nonces.SpentNonces.spend_asking`: one round trip for both."""
        spending = Question(
            """INSERT INTO spent_nonces (nonce, expires_at)
               SELECT :nonce, :expires_at FROM nonce_epochs WHERE id = 1 AND epoch = :epoch
               AND :expires_at > extract(epoch FROM now()) AND :latest <= extract(epoch FROM now())
               ON CONFLICT DO NOTHING""",
            {
                "nonce": identifier.hex(),
                "latest": issued_at - MAX_SECONDS_OFF,
                "expires_at": expires_at,
                "epoch": identifier[:_EPOCH_BYTES].hex(),
            },
        )
        (_, spent), *answers = self._database.run_together([spending, *questions])
        if not spent:
            # The epoch may be over, or the server's clock was set: the client's next nonce is right again.
            self._epoch = self._current_epoch()
            return None
        if secrets.randbelow(_FORGET_ONE_IN) == 0:
            self.forget_expired(now)
        return Answered(reader, zip(questions, (rows for rows, _ in answers), strict=True))

    def close(self) -> None:
        """See :meth:`~acme_iid.store.nonces.SpentNonces.close`: the connections are the database's."""

    def forget_expired(self, now: int) -> int:
        """Forget some of the nonces that ran out an hour ago, in case the server's clock is set back; how many.

        :param now: seconds; the server's clock counts where it is behind.
        """
        _, forgotten = self._database.run_alone(
            """DELETE FROM spent_nonces WHERE nonce IN (
                   SELECT nonce FROM spent_nonces WHERE expires_at <= LEAST(:now, extract(epoch FROM now())) - :kept
                   ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED)""",
            now=now,
            kept=_KEPT_SECONDS,
            most=_FORGOTTEN_AT_ONCE,
        )
        return forgotten
