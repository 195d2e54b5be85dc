"""What renew and rekey have in common: pairs in, renewed pairs out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from cryptography import x509

from acme_iid_client import certificates, errors, hooks, inventory, records, renewal, systemd
from acme_iid_client.cli.terminal import achieved, notice, printable
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.order import Issued
from acme_iid_client.places import Places

_ADVICE_SECONDS = 10.0
"""How long a CA is waited for that is only asked whether it has a wish."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where certificates are to come from, as far as options say; what they leave open a record may say."""

    ca_url: str | None
    root: Path | None
    metadata_url: str | None
    azure_resource: str | None

    def of(self, record: records.Record) -> records.Record:
        """A record with what the options say in its place."""
        # The root that was recorded is the recorded CA's, and no other's.
        root = record.root if self.ca_url is None else None
        return replace(
            record,
            ca_url=self.ca_url or record.ca_url,
            root=self.root or root,
            metadata_url=self.metadata_url or record.metadata_url,
            azure_resource=self.azure_resource or record.azure_resource,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """What a command was asked to do.

    :ivar expires_in: renew with this much time left; None leaves it to the CA, or to a third of the life.
    :ivar after: what is done after each renewal.
    :ivar pairs: certificates and keys as they were typed; none for all that were ordered on this machine.
    :ivar force: renew, due or not.
    :ivar timeout: seconds for each certificate.
    """

    where: Places
    wishes: renewal.Wishes
    expires_in: str | None
    after: hooks.Hooks
    origin: Origin
    pairs: tuple[tuple[Path, Path], ...]
    force: bool
    timeout: float
    as_json: bool

    def find(self, complain: Callable[[str], None]) -> list[records.Record]:
        """The pairs, each with what is known about how it was ordered.

        :param complain: called with a sentence about what cannot be read.
        """
        if not self.pairs:
            # Whoever removed a certificate or revoked it does not want another in its place.
            ordered = records.all_of(self.where.state, complain)
            return [
                self.origin.of(record)
                for record in ordered
                if record.certificate.exists() and not inventory.is_revoked(self.where.state, record.certificate)
            ]
        found = []
        for certificate, key in self.pairs:
            known = records.find(self.where.state, certificate)
            # The files as they were typed, for messages.
            record = records.Record(certificate, key) if known is None else known
            found.append(self.origin.of(replace(record, certificate=certificate, key=key)))
        return found

    def run(self) -> None:
        """Renew what is due, each independently of the others.

        :raises ClientError: if one could not be renewed.
        """
        found = self.find(notice)
        if not found:
            raise ClientError(
                "Nothing was ordered on this machine that is to be renewed. Name the files: "
                "acme-iid renew foo.crt foo.key"
            )
        failures: list[str] = []
        worst = errors.LOCAL
        for record in found:
            try:
                self._one(record)
            except (ClientError, OSError) as error:
                if len(found) == 1:
                    raise
                failures.append(f"{record.certificate}: {error}")
                worst = min(worst, getattr(error, "exit_status", errors.LOCAL))
        if failures:
            failed = ClientError("\n".join([f"{len(failures)} of {len(found)} were not renewed.", *failures]))
            failed.exit_status = worst
            raise failed

    def _one(self, record: records.Record) -> None:
        deadline = Deadline(self.timeout)
        _, leaf = renewal.current(record)
        if not self.force:
            due = self._due_at(record, leaf)
            if datetime.now(UTC) < due:
                _not_due(record, leaf, due, self.as_json)
                return
        issued = renewal.renew(record, self.wishes, self.where, os.environ, deadline, notice)
        ca_url = record.ca_url or _ca_url(self.where)
        if self.as_json:
            achieved(ca_url, issued, (record.certificate, record.key), as_json=True)
        else:
            click.echo(f"Your certificate has been saved in {printable(str(record.certificate))}.")
            if self.wishes.new_key:
                click.echo(f"Your private key has been saved in {printable(str(record.key))}.")
        self._tell(record, issued)

    def _due_at(self, record: records.Record, leaf: x509.Certificate) -> datetime:
        planned = renewal.planned_at(leaf, None, self.expires_in)
        if self.expires_in is not None or planned <= datetime.now(UTC):
            return planned
        try:
            window = renewal.advice(record, leaf, self.where, Deadline(min(self.timeout, _ADVICE_SECONDS)))
        except ClientError:
            # Without its word, nothing is urgent yet.
            return planned
        if window is not None and window.explanation is not None:
            notice(f"The CA explains when it would like {record.certificate} renewed: {window.explanation}")
        return renewal.planned_at(leaf, window)

    def stay(self) -> None:
        """Renew each whenever it is due, until SIGTERM."""
        from acme_iid_client.daemon import Daemon, Duties
        from acme_iid_client.journal import Journal
        from acme_iid_client.systemd import Notifier

        journal = Journal(as_json=self.as_json)

        def say(text: str) -> None:
            journal.info("notice", text)

        def renew(record: records.Record) -> Issued:
            return renewal.renew(record, self.wishes, self.where, os.environ, Deadline(self.timeout), say)

        duties = Duties(
            find=_Cached(self.where, lambda: self.find(lambda text: journal.error("unusable", text))).get,
            renew=renew,
            tell=self._tell,
            advise=lambda record, leaf: renewal.advice(record, leaf, self.where, Deadline(_ADVICE_SECONDS)),
            expires_in=self.expires_in,
            seconds=self.timeout + self.after.seconds,
        )
        Daemon(duties, journal, Notifier(os.environ), self.force).run()

    def _tell(self, record: records.Record, issued: Issued) -> None:
        ca_url = record.ca_url or _ca_url(self.where)
        # What systemd says to this process is not meant for commands.
        env = {name: value for name, value in os.environ.items() if name not in systemd.VARIABLES}
        try:
            self.after.run({**env, **hooks.variables(record, issued, ca_url)})
        except ClientError as error:
            raise ClientError(f"{record.certificate} was renewed, but not everybody knows: {error}") from error


class _Cached:
    """The records, read again when one was added or changed, or a certificate revoked: a daemon looks all the time."""

    def __init__(self, where: Places, read: Callable[[], list[records.Record]]) -> None:
        self._directories = (records.directory(where.state), inventory.revocations(where.state))
        self._read = read
        self._stamp: tuple[int, ...] | None = None
        self._found: list[records.Record] = []

    def get(self) -> list[records.Record]:
        stamp = tuple(map(_modified, self._directories))
        if stamp != self._stamp:
            self._found, self._stamp = self._read(), stamp
        return self._found


def _modified(directory: Path) -> int:
    try:
        return directory.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _ca_url(where: Places) -> str:
    from acme_iid_client import authority

    return authority.load(where).ca_url


def _not_due(record: records.Record, leaf: x509.Certificate, due: datetime, as_json: bool) -> None:
    ends, renews = certificates.rfc3339(leaf.not_valid_after_utc), certificates.rfc3339(due)
    if as_json:
        facts = {"certificate": str(record.certificate), "renewed": False, "not_after": ends, "due": renews}
        click.echo(json.dumps(facts))
    notice(f"{record.certificate} expires at {ends} and is due for renewal from {renews} on. --force renews now.")


def check_not_after(text: str | None) -> None:
    """See that ``--not-after`` makes sense, before anything is done.

    :raises ClientError: if it does not.
    """
    renewal.parse_not_after(text, datetime.now(UTC))


def check_expires_in(text: str | None) -> None:
    """See that ``--expires-in`` makes sense.

    :raises ClientError: if it does not.
    """
    if text is not None:
        certificates.parse_left(text, timedelta(days=1))
