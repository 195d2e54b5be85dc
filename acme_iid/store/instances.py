"""Which account an instance belongs to since its first use ("First use"), and what is closed to it.

What is closed stands apart: names that revocation closed, and instances that an operator blocked, used or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from acme_iid.protocol.resources import Instance
from acme_iid.store.chain import cloud_and_owner
from acme_iid.store.database import Reader, Row, Transaction
from acme_iid.store.listing import Filter

_COLUMNS = {"cloud": "i.cloud", "owner": "i.owner", "account": "i.account_id"}
_HOLDERS = """WITH RECURSIVE holders (id) AS (
    SELECT min(n.instance_id) FROM event_names n WHERE n.name = :held AND n.certificate_id IS NOT NULL
    UNION ALL
    SELECT (SELECT min(n.instance_id) FROM event_names n
            WHERE n.name = :held AND n.certificate_id IS NOT NULL AND n.instance_id > h.id)
    FROM holders h WHERE h.id IS NOT NULL)"""
"""The instances that got a certificate for a name: a step in the index for each, however many certificates it got."""


@dataclass(frozen=True, slots=True)
class Block:
    """An operator's word that an instance is shut out, and why, for operators."""

    instance_id: str
    blocked_at: int
    reason: str | None = None


class Closed(NamedTuple):
    """What an instance may not have: ``names`` that revocation closed to it, or, blocked, anything."""

    names: frozenset[str]
    blocked: bool


class Listed(NamedTuple):
    """A line of a list: an instance that was used, or is blocked, or both."""

    id: str
    instance: Instance | None
    block: Block | None


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


def page(reader: Reader, wanted: Filter) -> list[Listed]:
    """Instances that were used, the latest first use first."""
    columns = "i.*, b.instance_id AS blocked_id, b.blocked_at, b.reason"
    blocks = "LEFT JOIN blocked_instances b ON b.instance_id = i.id"
    select = f"SELECT {columns} FROM instances i {blocks}"  # noqa: S608 - constants only
    if wanted.name is not None:
        # CROSS JOIN is where SQLite begins with the left side (sqlite.org/optoverview.html): who holds a name are few.
        select = f"{_HOLDERS} SELECT {columns} FROM holders h CROSS JOIN instances i {blocks}"  # noqa: S608 - as above
    rows = wanted.page(
        reader,
        select,
        _COLUMNS,
        time="i.first_used_at",
        key="i.id",
        where=() if wanted.name is None else ("i.id = h.id",),
        held=wanted.name,
    )
    return [Listed(row["id"], _instance(row), _block(row)) for row in rows]


def page_of_blocked(reader: Reader, wanted: Filter) -> list[Listed]:
    """Instances that are blocked, the latest first, whether they were ever used or not."""
    held = "b.instance_id IN (SELECT h.id FROM holders h WHERE h.id IS NOT NULL)"
    select = """SELECT i.*, b.instance_id AS blocked_id, b.blocked_at, b.reason
                FROM blocked_instances b LEFT JOIN instances i ON i.id = b.instance_id"""
    rows = wanted.page(
        reader,
        select if wanted.name is None else f"{_HOLDERS} {select}",
        _COLUMNS | {"cloud": "b.cloud", "owner": "b.owner"},
        time="b.blocked_at",
        key="b.instance_id",
        where=() if wanted.name is None else (held,),
        held=wanted.name,
    )
    return [Listed(row["blocked_id"], None if row["id"] is None else _instance(row), _block(row)) for row in rows]


def _block(row: Row) -> Block | None:
    return None if row["blocked_id"] is None else Block(row["blocked_id"], row["blocked_at"], row["reason"])


def block(transaction: Transaction, blocked: Block) -> bool:
    """Shut an instance out; False, and nothing changed, if it was shut out before."""
    cloud, owner = cloud_and_owner(blocked.instance_id)
    return bool(
        transaction.run(
            """INSERT INTO blocked_instances (instance_id, cloud, owner, blocked_at, reason)
               VALUES (:instance_id, :cloud, :owner, :blocked_at, :reason) ON CONFLICT DO NOTHING""",
            instance_id=blocked.instance_id,
            cloud=cloud,
            owner=owner,
            blocked_at=blocked.blocked_at,
            reason=blocked.reason,
        )
    )


def unblock(transaction: Transaction, instance_id: str) -> bool:
    """Let an instance in again; False if it was not shut out."""
    return bool(transaction.run("DELETE FROM blocked_instances WHERE instance_id = :id", id=instance_id))


def find_blocked(reader: Reader, word: str) -> list[Block]:
    """The blocks of the instances that an operator means by ``word``: the whole id, or how it ends."""
    rows = reader.rows(
        """SELECT instance_id AS blocked_id, blocked_at, reason FROM blocked_instances
           WHERE instance_id = :word OR substr(instance_id, length(instance_id) - length(:word)) = ':' || :word
           ORDER BY instance_id""",
        word=word,
    )
    return [block for row in rows if (block := _block(row)) is not None]


def closed(reader: Reader, instance_id: str) -> Closed:
    """What is closed to an instance, by revocation and by an operator's block."""
    rows = reader.rows(
        """SELECT name FROM closed_names WHERE instance_id = :id
           UNION ALL SELECT NULL FROM blocked_instances WHERE instance_id = :id""",
        id=instance_id,
    )
    found = {row["name"] for row in rows}
    return Closed(frozenset(found - {None}), None in found)


def of_resource(reader: Reader, resource_id: str) -> Instance | None:
    """The instance that was first used as the VM with this resource id."""
    rows = reader.rows("SELECT * FROM instances WHERE resource_id = :resource_id", resource_id=resource_id)
    return _instance(rows[0]) if rows else None


def use(transaction: Transaction, instance: Instance) -> bool:
    """Record a use of ``instance`` by its ``account_id``: the first, one more by the same, or one after a release.

    One statement under the primary key, so that of two accounts that race for an instance one wins.

    :returns: False, and nothing changed, if the instance is another account's, was started later than
        this evidence says, or was another VM resource.
    """
    return bool(
        transaction.rows(
            """INSERT INTO instances (id, cloud, owner, instance_id, account_id, thumbprint, started_at,
                                      first_used_at, last_used_at, resource_id)
               VALUES (:id, :cloud, :owner, :instance_id, :account_id, :thumbprint, :started_at, :now, :now,
                       :resource_id)
               ON CONFLICT (id) DO UPDATE
               SET account_id = excluded.account_id, thumbprint = excluded.thumbprint,
                   started_at = COALESCE(excluded.started_at, instances.started_at),
                   last_used_at = excluded.last_used_at, release_to = NULL, release_until = NULL,
                   resource_id = COALESCE(instances.resource_id, excluded.resource_id)
               WHERE (instances.account_id = excluded.account_id
                      OR (instances.account_id IS NULL AND instances.release_to = excluded.thumbprint
                          AND instances.release_until > excluded.last_used_at))
                 AND (excluded.started_at IS NULL OR instances.started_at IS NULL
                      OR excluded.started_at >= instances.started_at)
                 AND (excluded.resource_id IS NULL OR instances.resource_id IS NULL
                      OR excluded.resource_id = instances.resource_id)
               RETURNING id""",
            id=instance.id,
            cloud=instance.cloud,
            owner=instance.owner,
            instance_id=instance.instance_id,
            account_id=instance.account_id,
            thumbprint=instance.thumbprint,
            started_at=instance.started_at,
            now=instance.last_used_at,
            resource_id=instance.resource_id,
        )
    )


def release(transaction: Transaction, instance_id: str, thumbprint: str, now: int, until: int) -> None:
    """Take an instance from its account, if it has one, and let the key with ``thumbprint`` use it until ``until``.

    Its VM resource is free again: a VM that was made anew under the same name is another instance.
    """
    cloud, owner = cloud_and_owner(instance_id)
    transaction.run(
        """INSERT INTO instances (id, cloud, owner, instance_id, first_used_at, last_used_at, release_to, release_until)
           VALUES (:id, :cloud, :owner, :instance_id, :now, :now, :thumbprint, :until)
           ON CONFLICT (id) DO UPDATE
           SET account_id = NULL, thumbprint = NULL, resource_id = NULL,
               release_to = excluded.release_to, release_until = excluded.release_until""",
        id=instance_id,
        cloud=cloud,
        owner=owner,
        instance_id=instance_id.rpartition(":")[2],
        now=now,
        thumbprint=thumbprint,
        until=until,
    )
