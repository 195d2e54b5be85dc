"""Renewing a certificate: what its successor is like, and how it is put in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from acme_iid.errors import Remedy
from acme_iid.terminal import durations
from acme_iid_client import clouds
from acme_iid_client.acme import known_ca
from acme_iid_client.acme.connection import CaError
from acme_iid_client.acme.order import Issued, Request, order
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.renewal import ari, pending_installations
from acme_iid_client.renewal.pending_installations import PendingInstallation
from acme_iid_client.renewal.schedule import Window
from acme_iid_client.storage import pairs
from acme_iid_client.storage.directories import Directories
from acme_iid_client.storage.records import Record
from acme_iid_client.x509 import keys
from acme_iid_client.x509.certificates import (
    load_certificates,
    names_in,
    provisioner_of,
)
from acme_iid_client.x509.keys import KeyType, type_of


class MissingError(ClientError):
    """The certificate's file is not there: somebody removed it, or its directory or volume is not there (yet)."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Changes to the usual course of a renewal.

    :ivar provisioner: another provisioner than the one that the certificate names.
    :ivar life: the time that the new certificate is to be valid, or its end: as ``--not-after`` takes it.
    :ivar key_type: make a new key of this kind; None keeps the key.
    :ivar new_key: make a new key, of the same kind.
    """

    provisioner: str | None = None
    life: str | None = None
    key_type: KeyType | None = None
    new_key: bool = False
    permissions: pairs.Permissions = field(default_factory=pairs.Permissions)


def successor(certificate: x509.Certificate, provisioner: str | None, not_after: str | None) -> Request:
    """The order that renews a certificate: the same names and kind of key, by the same provisioner.

    :param provisioner: another provisioner, if one is asked for.
    :param not_after: RFC 3339, as in :class:`~acme_iid_client.acme.order.Request`.
    :raises ClientError: if the certificate has no names.
    """
    names = names_in(certificate)
    if not names:
        raise ClientError("The certificate has no names, so there is nothing to renew.")
    known = provisioner_of(certificate)
    if provisioner is None and known is not None and known.type != "ACME":
        provisioner = known.name
    kind = type_of(certificate.public_key()) or KeyType("EC", "P-256")
    return Request(names, kind, provisioner, not_after, replaces=ari.certificate_id(certificate))


def current(record: Record) -> tuple[pairs.Pair, x509.Certificate]:
    """The pair as it is, after making good what an installation that was cut off has left.

    :returns: where its files are, and the certificate.
    :raises MissingError: if the certificate's file is not there.
    :raises ClientError: if it holds no certificate, the key cannot be read, or the key is another one's.
    :raises OSError: if one of them cannot be looked at.
    """
    missing = MissingError(
        f"{record.certificate} does not exist. 'acme-iid order NAME {record.certificate} {record.key}' makes it."
    )
    try:
        os.lstat(record.certificate)
    except (FileNotFoundError, NotADirectoryError):
        raise missing from None
    pair = pairs.pair(record.certificate, record.key)
    pairs.recover(pair)
    if not pair.certificate.exists():
        raise missing
    try:
        leaf = load_certificates(pairs.read(pair.certificate))[0]
        public = keys.spki(leaf.public_key())
    except ClientError as error:
        raise ClientError(f"{record.certificate} is not a certificate: {error}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ClientError(f"The key in {record.certificate} is of a kind that this program does not know.") from error
    if pair.key.exists():
        key = keys.load(pairs.read(pair.key), str(record.key))
        if keys.spki(key.public_key()) != public:
            raise ClientError(
                f"{record.key} is not the key of {record.certificate}, so it is not overwritten. "
                "Which file is the right one?"
            )
        record.bundles.refresh(pair, pairs.Permissions())
    return pair, leaf


def advice(record: Record, certificate: x509.Certificate, where: Directories, deadline: Deadline) -> Window | None:
    """The window in which the CA of a pair suggests to renew it; None if it suggests nothing.

    :raises ClientError: if it cannot be asked.
    """
    return ari.fetch(known_ca.load(where, record.ca_url, record.root), certificate, deadline)


def renew(
    record: Record,
    wishes: Wishes,
    where: Directories,
    env: Mapping[str, str],
    deadline: Deadline,
    notice: Callable[[str], None],
    installing: Callable[[x509.Certificate | None], None],
) -> Issued:
    """Get a new certificate for a pair and put it in place.

    An expired certificate is no obstacle: what renews it is an order like the first, proven anew. The key is kept,
    unless a new one was asked for, or the CA says that it was revoked as compromised.

    :param env: the environment.
    :param installing: called with the certificate that is there, just before another takes its place.
    :raises CaError: if the CA refuses.
    :raises ClientError: if anything else stands in the way; the old pair is in use then.
    :raises OSError: if the new one cannot be written; likewise.
    """
    finished = finish(record, wishes, where, installing)
    if finished is not None:
        return finished
    pair, leaf = current(record)
    now = datetime.now(UTC)
    request = successor(leaf, wishes.provisioner, parse_not_after(wishes.life or record.life, now))
    request = replace(request, profile=record.profile)
    keep = pair.key.exists() and not wishes.new_key and wishes.key_type is None
    if keep:
        request = replace(request, key=keys.load(pairs.read(pair.key), str(record.key)))
    elif wishes.key_type is not None:
        request = replace(request, key=wishes.key_type)
    if leaf.not_valid_after_utc <= now:
        request = replace(request, replaces=None)
    chain = load_certificates(pairs.read(pair.certificate))
    ca = known_ca.load_issuer(_with_account_key(where, record), chain, record.ca_url, record.root)
    cloud = clouds.at(
        where.state, ca.identity, env, record.metadata_url, record.token_resource or ca.token_resource, notice
    )
    pairs.rehearse(pair, wishes.permissions, key_stays=keep)
    record.bundles.rehearse(wishes.permissions)
    with pending_installations.room(where.state, record.certificate) as room:
        try:
            issued = order(request, ca, where.state, cloud, deadline, notice)
        except CaError as error:
            if not keep or error.remedy is not Remedy.NEW_KEY:
                raise
            notice(f"The CA takes the key in {record.key} no more: it was revoked as compromised. Making a new one.")
            keep, request = False, replace(request, key=type_of(leaf.public_key()) or KeyType("EC", "P-256"))
            pairs.rehearse(pair, wishes.permissions, key_stays=False)
            issued = order(request, ca, where.state, cloud, deadline, notice)
        waiting = PendingInstallation(replace(issued, key=None) if keep else issued, wishes.permissions)
        room.keep(waiting)
    installing(leaf)
    _put_in_place(waiting, pair, record, wishes, where)
    return issued


def finish(
    record: Record,
    wishes: Wishes,
    where: Directories,
    installing: Callable[[x509.Certificate | None], None] = lambda _: None,
) -> Issued | None:
    """Put in place what was issued for a pair earlier and could not be, so that it is not ordered again.

    :param installing: called with the certificate that is there, if any, just before another takes its place.
    :returns: the certificate that is in place now; None if nothing was kept, or nothing that serves.
    :raises ClientError: if it still cannot be put in place.
    """
    waiting = pending_installations.find(where.state, record.certificate)
    if waiting is None:
        return None
    pair = pairs.pair(record.certificate, record.key)
    pairs.recover(pair)
    if not _serves(waiting, pair, wishes):
        pending_installations.drop(where.state, record.certificate)
        return None
    installing(_there(pair))
    _put_in_place(waiting, pair, record, wishes, where)
    return waiting.issued


def _serves(waiting: PendingInstallation, pair: pairs.Pair, wishes: Wishes) -> bool:
    """Whether what is kept is as good as what a renewal would order now."""
    issued, now = waiting.issued, datetime.now(UTC)
    if not waiting.is_fresh(now):
        return False
    if issued.key is None and (
        wishes.new_key or wishes.key_type is not None or not pairs.match(issued.certificate_pem, _content(pair.key))
    ):
        return False
    if wishes.key_type is not None and type_of(issued.leaf.public_key()) != wishes.key_type:
        return False
    there = _there(pair)
    if there is None:
        return True
    # Another program, or another order, may have been here since.
    newer = there.not_valid_before_utc <= issued.leaf.not_valid_before_utc and there != issued.leaf
    return newer and set(names_in(there)) == set(names_in(issued.leaf))


def _there(pair: pairs.Pair) -> x509.Certificate | None:
    """The certificate of a pair as it is, if it is one."""
    try:
        return load_certificates(_content(pair.certificate))[0]
    except ClientError:
        return None


def _content(path: Path) -> bytes:
    """The content of a file of a pair; empty for one that is missing."""
    try:
        return pairs.read(path)
    except FileNotFoundError:
        return b""


def _put_in_place(
    waiting: PendingInstallation,
    pair: pairs.Pair,
    record: Record,
    wishes: Wishes,
    where: Directories,
) -> None:
    waiting.put_in_place(pair, wishes.permissions)
    pending_installations.drop(where.state, record.certificate)
    record.bundles.refresh(pair, wishes.permissions)


def _with_account_key(where: Directories, record: Record) -> Directories:
    """The places with the account key that the pair was ordered with, if a person keeps it."""
    return where if where.account_key is not None else replace(where, account_key=record.account_key)


def parse_not_after(text: str | None, now: datetime) -> str | None:
    """The time that ``--not-after`` says, as RFC 3339 in UTC.

    :param text: a time in RFC 3339, or how long from now: ``8h``, ``90m``, ``1d12h``.
    :raises ClientError: if it is neither.
    """
    if text is None:
        return None
    duration = durations.parse(text)
    if duration is not None:
        end = now + timedelta(seconds=duration)
    else:
        wrong = ClientError(f"--not-after {text} is neither a duration like 8h nor a time like 2030-01-31T12:00:00Z.")
        try:
            end = datetime.fromisoformat(text)
        except ValueError:
            raise wrong from None
        if end.tzinfo is None:
            raise wrong
    return end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
