"""Which account an instance belongs to since its first use ("First use"), what is closed to it, and its generation.

An instance has a row once it was used, has proven something or was blocked. Each event that ends its proofs raises its
generation: proofs of the generation before count no longer, without a look at the orders that have them.
"""

from __future__ import annotations

from typing import NamedTuple

from acme_iid.protocol.resources import Instance, InstanceKey
from acme_iid.store.listing import Filter
from acme_iid.store.lookups import TRAITS, key
from acme_iid.store.writes import Question, Reader, Row, Statement, again, ask

_COLUMNS = {"instance": "i.id", "cloud": "i.cloud", "owner": "i.owner", "account": "i.account_id"}


class Closed(NamedTuple):
    """The limits of an instance: ``names`` that revocation closed to it; it may have nothing if it is ``blocked``."""

    names: frozenset[str]
    blocked: bool


def _instance(row: Row) -> Instance:
    return Instance(**{name: row[name] for name in Instance.__dataclass_fields__})


def get(reader: Reader, instance_id: str) -> Instance | None:
    """The row of an instance that was used or blocked."""
    rows = ask(reader, question(instance_id))
    return _instance(rows[0]) if rows else None


def question(instance_id: str) -> Question:
    """The question of :func:`get`."""
    return Question("SELECT * FROM instances WHERE id = :id", {"id": instance_id})


def find(reader: Reader, word: str) -> list[Instance]:
    """The instances an operator means by ``word``: the whole id, or the cloud's own instance id."""
    rows = reader.rows("SELECT * FROM instances WHERE id = :word OR instance_id = :word ORDER BY id", word=word)
    return [_instance(row) for row in rows]


def page(reader: Reader, criteria: Filter, *, blocked: bool = False) -> list[Instance]:
    """Instances that were used, the latest first use first; or those that are blocked, the latest first."""
    time = "i.blocked_at" if blocked else "i.first_used_at"
    tables, where = "instances i", [f"{time} IS NOT NULL"]
    traits = {field: value for field in TRAITS if (value := getattr(criteria, field)) is not None}
    if criteria.name is not None:
        # With CROSS JOIN, SQLite begins with the left side (sqlite.org/optoverview.html): a name has few holders.
        tables = "holders h CROSS JOIN instances i"
        where += ["h.name = :held", "i.id = h.instance_id"]
    where += [_trait(field) for field in traits]
    rows = criteria.page(
        reader,
        f"SELECT i.* FROM {tables}",  # noqa: S608 - our own words
        _COLUMNS,
        time=time,
        key="i.id",
        where=where,
        held=criteria.name,
        **{f"has_{field}": key(value) for field, value in traits.items()},
    )
    return [_instance(row) for row in rows]


def unblocked(reader: Reader, criteria: Filter, after: str, most: int) -> list[str]:
    """The ids of instances under a filter that are not blocked, used or not, in their order, from behind ``after``."""
    columns = {**_COLUMNS, **dict.fromkeys(TRAITS, "t")}
    values = {field: value for field in (*columns, "name") if (value := getattr(criteria, field)) is not None}
    where = [
        _trait(field) if field in TRAITS else f"{column} = :has_{field}"
        for field, column in columns.items()
        if field in values
    ]
    if "name" in values:
        where.append("EXISTS (SELECT 1 FROM holders h WHERE h.name = :has_name AND h.instance_id = i.id)")
    rows = reader.rows(
        f"""SELECT i.id FROM instances i WHERE {" AND ".join(["i.id > :after", "i.blocked_at IS NULL", *where])}
            ORDER BY i.id LIMIT :most""",  # noqa: S608 - our own words
        after=after,
        most=most,
        **{f"has_{field}": key(value) if field in TRAITS else value for field, value in values.items()},
    )
    return [row["id"] for row in rows]


def _trait(field: str) -> str:
    """The condition that the instance ``i`` is found by a trait, the value of which is ``has_`` and its field."""
    return f"""EXISTS (SELECT 1 FROM traits t WHERE t.field = '{field}' AND t.value = :has_{field}
               AND t.instance_id = i.id)"""  # noqa: S608 - our own words


def closed(reader: Reader, instance_id: str) -> Closed:
    """The names that revocation closed to an instance, and whether an operator blocked it."""
    names = {row["name"] for row in ask(reader, question_of_closed(instance_id))}
    return Closed(frozenset(names - {None}), None in names)


def question_of_closed(instance_id: str) -> Question:
    """The question of :func:`closed`."""
    return Question(
        """SELECT name FROM closed_names WHERE instance_id = :id
           UNION ALL SELECT NULL FROM instances WHERE id = :id AND blocked_at IS NOT NULL""",
        {"id": instance_id},
    )


def of_resource(reader: Reader, resource_id: str) -> Instance | None:
    """The instance that was first used as the VM with this resource id."""
    rows = ask(reader, question_of_resource(resource_id))
    return _instance(rows[0]) if rows else None


def question_of_resource(resource_id: str) -> Question:
    """The question of :func:`of_resource`."""
    return Question("SELECT * FROM instances WHERE resource_id = :resource_id", {"resource_id": resource_id})


def use(instance: Instance) -> Statement:
    """Record a use of ``instance`` by its ``account_id``: the first, one more by the same, or one after a release.

    One statement under the primary key, so that of two accounts that race for an instance one wins. It changes nothing
    if the instance is another account's, was started later than this evidence says, was another VM resource, is
    blocked, or has another generation.
    """
    return Statement(
        """INSERT INTO instances (id, cloud, owner, instance_id, account_id, thumbprint, started_at,
                                  first_used_at, last_used_at, resource_id, generation)
           VALUES (:id, :cloud, :owner, :instance_id, :account_id, :thumbprint, :started_at, :now, :now,
                   :resource_id, :generation)
           ON CONFLICT (id) DO UPDATE
           SET account_id = excluded.account_id, thumbprint = excluded.thumbprint,
               started_at = COALESCE(excluded.started_at, instances.started_at),
               first_used_at = COALESCE(instances.first_used_at, excluded.first_used_at),
               last_used_at = excluded.last_used_at, release_to = NULL, release_until = NULL,
               resource_id = COALESCE(instances.resource_id, excluded.resource_id)
           WHERE instances.generation = excluded.generation AND instances.blocked_at IS NULL
             AND (instances.first_used_at IS NULL OR instances.account_id = excluded.account_id
                  OR (instances.account_id IS NULL AND instances.release_to = excluded.thumbprint
                      AND instances.release_until > excluded.last_used_at))
             AND (excluded.started_at IS NULL OR instances.started_at IS NULL
                  OR excluded.started_at >= instances.started_at)
             AND (excluded.resource_id IS NULL OR instances.resource_id IS NULL
                  OR excluded.resource_id = instances.resource_id)""",
        {
            "id": instance.id,
            "cloud": instance.cloud,
            "owner": instance.owner,
            "instance_id": instance.instance_id,
            "account_id": instance.account_id,
            "thumbprint": instance.thumbprint,
            "started_at": instance.started_at,
            "now": instance.last_used_at,
            "resource_id": instance.resource_id,
            "generation": instance.generation,
        },
        again,
        unique="instances.resource_id",
    )


def prove(instance: Instance) -> Statement:
    """Record that an instance has proven a name where nobody holds it by first use: it has a row, and a generation."""
    return Statement(
        """INSERT INTO instances (id, cloud, owner, instance_id, generation)
           VALUES (:id, :cloud, :owner, :instance_id, :generation)
           ON CONFLICT (id) DO UPDATE SET cloud = excluded.cloud
           WHERE instances.generation = excluded.generation AND instances.blocked_at IS NULL
             AND instances.first_used_at IS NULL""",
        {
            "id": instance.id,
            "cloud": instance.cloud,
            "owner": instance.owner,
            "instance_id": instance.instance_id,
            "generation": instance.generation,
        },
        again,
    )


def unchanged(instance_id: str, generation: int) -> Statement:
    """Rely on it that an instance still has what it has proven in a generation."""
    return Statement(
        "SELECT 1 FROM instances WHERE id = :id AND generation = :generation AND blocked_at IS NULL",
        {"id": instance_id, "generation": generation},
        again,
        shared=True,
    )


def proves_still(instance: Instance) -> Statement:
    """Rely on it that what an instance proved in an earlier order still counts: nothing has taken it away."""
    return Statement(
        """SELECT 1 FROM instances WHERE id = :id AND generation = :generation AND blocked_at IS NULL
           AND COALESCE(account_id, '') = :account_id AND COALESCE(last_revocation_at, 0) = :last_revocation_at""",
        {
            "id": instance.id,
            "generation": instance.generation,
            "account_id": instance.account_id or "",
            "last_revocation_at": instance.last_revocation_at or 0,
        },
        again,
        shared=True,
    )


def note_revocation(instance_id: str, now: int) -> Statement:
    """Note that a certificate of an instance was revoked for another reason than that it was superseded."""
    return Statement("UPDATE instances SET last_revocation_at = :now WHERE id = :id", {"id": instance_id, "now": now})


def _raised(instance: InstanceKey, now: int, reason: str, generation: int) -> dict[str, object]:
    return {
        **instance._asdict(),
        "instance_id": instance.id.rpartition(":")[2],
        "now": now,
        "reason": reason,
        "generation": generation,
    }


_RAISE = "generation = instances.generation + 1, raised_at = :now, raised_for = :reason"


def raise_generation(instance: InstanceKey, generation: int, reason: str, now: int) -> Statement:
    """Take from an instance what it has proven.

    :param reason: the reason that its clients are told.
    """
    return Statement(
        f"""INSERT INTO instances (id, cloud, owner, instance_id, generation, raised_at, raised_for)
           VALUES (:id, :cloud, :owner, :instance_id, 1, :now, :reason)
           ON CONFLICT (id) DO UPDATE SET {_RAISE} WHERE instances.generation = :generation""",  # noqa: S608
        _raised(instance, now, reason, generation),
        again,
    )


def block(instance: InstanceKey, generation: int, reason: str, blocked_for: str | None, now: int) -> Statement:
    """Shut an instance out that is not shut out, used or not, and take from it what it has proven.

    :param reason: the reason that its clients are told.
    :param blocked_for: for operators.
    """
    return Statement(
        f"""INSERT INTO instances (id, cloud, owner, instance_id, generation, raised_at, raised_for, blocked_at,
                                  blocked_for)
           VALUES (:id, :cloud, :owner, :instance_id, 1, :now, :reason, :now, :blocked_for)
           ON CONFLICT (id) DO UPDATE SET blocked_at = :now, blocked_for = :blocked_for, {_RAISE}
           WHERE instances.blocked_at IS NULL AND instances.generation = :generation""",  # noqa: S608 - a constant
        {**_raised(instance, now, reason, generation), "blocked_for": blocked_for},
        again,
    )


def unblock(instance_id: str) -> Statement:
    """Let an instance in again that is shut out."""
    return Statement(
        "UPDATE instances SET blocked_at = NULL, blocked_for = NULL WHERE id = :id AND blocked_at IS NOT NULL",
        {"id": instance_id},
        again,
    )


def release(instance: InstanceKey, generation: int, thumbprint: str, reason: str, now: int, until: int) -> Statement:
    """Take an instance from its account, if it has one, and let the key with ``thumbprint`` use it until ``until``.

    Its VM resource is free again: a VM that was made anew under the same name is another instance.

    :param reason: the reason that the clients of its former account are told.
    """
    return Statement(
        f"""INSERT INTO instances (id, cloud, owner, instance_id, first_used_at, last_used_at, release_to,
                                  release_until, generation, raised_at, raised_for)
           VALUES (:id, :cloud, :owner, :instance_id, :now, :now, :thumbprint, :until, 1, :now, :reason)
           ON CONFLICT (id) DO UPDATE
           SET account_id = NULL, thumbprint = NULL, resource_id = NULL,
               first_used_at = COALESCE(instances.first_used_at, excluded.first_used_at),
               last_used_at = COALESCE(instances.last_used_at, excluded.last_used_at),
               release_to = excluded.release_to, release_until = excluded.release_until, {_RAISE}
           WHERE instances.generation = :generation""",  # noqa: S608 - a constant
        {**_raised(instance, now, reason, generation), "thumbprint": thumbprint, "until": until},
        again,
    )
