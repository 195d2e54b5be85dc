"""Which account an instance belongs to since its first use (rfc-notes/iid-01.md, "First use")."""

from __future__ import annotations

from acme_iid.protocol.resources import Instance
from acme_iid.store.database import Reader, Row, Transaction


def _instance(row: Row) -> Instance:
    return Instance(**{name: row[name] for name in Instance.__dataclass_fields__})


def get(reader: Reader, instance_id: str) -> Instance | None:
    """The record of an instance that was used before."""
    rows = reader.rows("SELECT * FROM instances WHERE id = :id", id=instance_id)
    return _instance(rows[0]) if rows else None


def find(reader: Reader, word: str) -> list[Instance]:
    """The instances an operator means by ``word``: the whole id, or the cloud's own instance id."""
    rows = reader.rows("SELECT * FROM instances WHERE id = :word OR instance_id = :word ORDER BY id", word=word)
    return [_instance(row) for row in rows]


def newest(reader: Reader, limit: int) -> list[Instance]:
    """The instances that were used last."""
    rows = reader.rows("SELECT * FROM instances ORDER BY last_used_at DESC, id LIMIT :limit", limit=limit)
    return [_instance(row) for row in rows]


def use(transaction: Transaction, instance: Instance) -> bool:
    """Record a use of ``instance`` by its ``account_id``: the first, one more by the same, or one after a release.

    One statement under the primary key, so that of two accounts that race for an instance one wins.

    :returns: False, and nothing changed, if the instance is another account's, or was started later than
        this evidence says.
    """
    return bool(
        transaction.rows(
            """INSERT INTO instances (id, cloud, owner, instance_id, account_id, thumbprint, started_at,
                                      first_used_at, last_used_at)
               VALUES (:id, :cloud, :owner, :instance_id, :account_id, :thumbprint, :started_at, :now, :now)
               ON CONFLICT (id) DO UPDATE
               SET account_id = excluded.account_id, thumbprint = excluded.thumbprint,
                   started_at = COALESCE(excluded.started_at, instances.started_at),
                   last_used_at = excluded.last_used_at, release_to = NULL, release_until = NULL
               WHERE (instances.account_id = excluded.account_id
                      OR (instances.account_id IS NULL AND instances.release_to = excluded.thumbprint
                          AND instances.release_until > excluded.last_used_at))
                 AND (excluded.started_at IS NULL OR instances.started_at IS NULL
                      OR excluded.started_at >= instances.started_at)
               RETURNING id""",
            id=instance.id,
            cloud=instance.cloud,
            owner=instance.owner,
            instance_id=instance.instance_id,
            account_id=instance.account_id,
            thumbprint=instance.thumbprint,
            started_at=instance.started_at,
            now=instance.last_used_at,
        )
    )


def release(transaction: Transaction, instance_id: str, thumbprint: str, until: int) -> bool:
    """Take an instance from its account, and let the key with ``thumbprint`` use it first until ``until``."""
    return bool(
        transaction.run(
            """UPDATE instances SET account_id = NULL, thumbprint = NULL, release_to = :thumbprint,
                      release_until = :until
               WHERE id = :id""",
            id=instance_id,
            thumbprint=thumbprint,
            until=until,
        )
    )
