"""Issued certificates, and the names that revocation closed to an instance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.renewal import Window
from acme_iid.protocol.resources import Certificate
from acme_iid.store.chain import cloud_and_owner
from acme_iid.store.challenges import names_of_text
from acme_iid.store.database import Reader, Row, Transaction
from acme_iid.store.listing import Filter, Place

Status = Literal["valid", "expired", "revoked"]

_COLUMNS = {"cloud": "c.cloud", "owner": "c.owner", "account": "c.account_id"}
_CONDITIONS: Mapping[Status, str] = {
    "valid": "c.revoked_at IS NULL AND c.not_after > :now",
    "expired": "c.revoked_at IS NULL AND c.not_after <= :now",
    "revoked": "c.revoked_at IS NOT NULL",
}


def _certificate(row: Row) -> Certificate:
    return Certificate(
        id=row["id"],
        serial=row["serial"],
        order_id=row["order_id"],
        account_id=row["account_id"],
        names=names_of_text(row["names"]),
        not_before=row["not_before"],
        not_after=row["not_after"],
        issued_at=row["issued_at"],
        chain=row["chain"],
        key_id=row["key_id"],
        profile=row["profile"],
        image=row["image"],
        renew_from=row["renew_from"],
        renew_until=row["renew_until"],
        provisioner=row["provisioner"],
        instance=row["instance_id"],
        revoked_at=row["revoked_at"],
        revocation_reason=row["revocation_reason"],
        revoked_by=row["revoked_by"],
    )


def get(reader: Reader, certificate_id: str) -> Certificate | None:
    """The certificate with this id."""
    rows = reader.rows("SELECT * FROM certificates WHERE id = :id", id=certificate_id)
    return _certificate(rows[0]) if rows else None


def by_serial(reader: Reader, serial: str) -> Certificate | None:
    """The certificate with this serial number (lower-case hex without leading zeros)."""
    rows = reader.rows("SELECT * FROM certificates WHERE serial = :serial", serial=serial)
    return _certificate(rows[0]) if rows else None


def of_instance(reader: Reader, instance_id: str) -> list[Certificate]:
    """An instance's certificates, newest first."""
    rows = reader.rows(
        "SELECT * FROM certificates WHERE instance_id = :id ORDER BY issued_at DESC, id DESC", id=instance_id
    )
    return [_certificate(row) for row in rows]


def page(
    reader: Reader, wanted: Filter, status: Status | None, now: int, image: str | None = None
) -> list[Certificate]:
    """Issued certificates, newest first."""
    where: tuple[str, ...] = () if status is None else (_CONDITIONS[status],)
    if image is not None:
        where += ("c.image = :image",)
    if wanted.name is None:
        rows = wanted.page(
            reader,
            "SELECT c.* FROM certificates c",
            _COLUMNS,
            time="c.issued_at",
            key="c.id",
            where=where,
            now=now,
            image=image,
        )
    else:
        rows = wanted.page(
            reader,
            "SELECT c.* FROM event_names n JOIN certificates c ON c.id = n.certificate_id",
            _COLUMNS | {"name": "n.name"},
            time="n.at",
            key="c.id",
            # Events stay when certificates are pruned: none of what is older has one.
            where=(*where, "n.at >= (SELECT min(issued_at) FROM certificates)"),
            now=now,
            image=image,
        )
    return [_certificate(row) for row in rows]


def add(transaction: Transaction, certificate: Certificate) -> None:
    """Add an issued certificate. Its order may have no other: that is a UNIQUE key."""
    cloud, owner = cloud_and_owner(certificate.instance)
    transaction.run(
        """INSERT INTO certificates (id, serial, order_id, account_id, names, not_before, not_after, issued_at,
                                     chain, key_id, profile, image, provisioner, instance_id, cloud, owner)
           VALUES (:id, :serial, :order_id, :account_id, :names, :not_before, :not_after, :issued_at,
                   :chain, :key_id, :profile, :image, :provisioner, :instance_id, :cloud, :owner)""",
        id=certificate.id,
        serial=certificate.serial,
        order_id=certificate.order_id,
        account_id=certificate.account_id,
        names=json.dumps(certificate.names),
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        issued_at=certificate.issued_at,
        chain=certificate.chain,
        key_id=certificate.key_id,
        profile=certificate.profile,
        image=certificate.image,
        provisioner=certificate.provisioner,
        instance_id=certificate.instance,
        cloud=cloud,
        owner=owner,
    )


def count_valid(reader: Reader, wanted: Filter, image: str | None, now: int) -> int:
    """How many certificates :func:`page` would give in all, of those that are valid."""
    count, before = 0, None
    while found := page(reader, replace(wanted, limit=1000, before=before), "valid", now, image):
        count += len(found)
        before = Place(found[-1].issued_at, found[-1].id)
    return count


def set_window(transaction: Transaction, certificate_id: str, window: Window) -> bool:
    """Say when a certificate that was not revoked should be renewed."""
    return bool(
        transaction.run(
            """UPDATE certificates SET renew_from = :start, renew_until = :end
               WHERE id = :id AND revoked_at IS NULL""",
            id=certificate_id,
            start=window.start,
            end=window.end,
        )
    )


def revoke(transaction: Transaction, certificate_id: str, reason: int, revoked_by: str, now: int) -> bool:
    """Revoke a certificate, once."""
    return bool(
        transaction.run(
            """UPDATE certificates SET revoked_at = :now, revocation_reason = :reason, revoked_by = :revoked_by
               WHERE id = :id AND revoked_at IS NULL""",
            id=certificate_id,
            reason=reason,
            revoked_by=revoked_by,
            now=now,
        )
    )


def close_names(transaction: Transaction, instance_id: str, names: Iterable[Identifier], now: int) -> None:
    """Close names to an instance until an operator reopens them."""
    for name in names:
        transaction.run(
            """INSERT INTO closed_names (instance_id, name, closed_at) VALUES (:instance_id, :name, :now)
               ON CONFLICT DO NOTHING""",
            instance_id=instance_id,
            name=name.value,
            now=now,
        )


def closed_names(reader: Reader, instance_id: str) -> set[str]:
    """The names that are closed to an instance."""
    rows = reader.rows("SELECT name FROM closed_names WHERE instance_id = :id", id=instance_id)
    return {row["name"] for row in rows}


def reopen_name(transaction: Transaction, instance_id: str, name: str) -> bool:
    """Open a closed name again."""
    return bool(
        transaction.run(
            "DELETE FROM closed_names WHERE instance_id = :instance_id AND name = :name",
            instance_id=instance_id,
            name=name,
        )
    )
