"""The common part of renew and rekey: pairs in, renewed pairs out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from cryptography import x509

from acme_iid_client import errors
from acme_iid_client.acme import known_ca, system_trust
from acme_iid_client.acme.connection import CaError
from acme_iid_client.acme.order import Issued
from acme_iid_client.cli.terminal import achieved, notice, printable
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError, sentence
from acme_iid_client.renewal import (
    hooks,
    inventory,
    pending_installations,
    refusals,
    renew,
    schedule,
)
from acme_iid_client.renewal.cached_records import CachedRecords
from acme_iid_client.renewal.notifications import Notifications, environment
from acme_iid_client.renewal.roots import AGAIN_SECONDS, LOOK_SECONDS, Looking, RootsFile, RootWatch
from acme_iid_client.storage import records
from acme_iid_client.storage.directories import Directories
from acme_iid_client.x509 import certificates

if TYPE_CHECKING:
    from acme_iid_client.renewal.workers import Current

_ADVICE_SECONDS = 10.0
"""The longest wait for a CA that is only asked whether it has a wish."""
_FINISH_AGAIN = 60.0
"""Seconds between two tries to put in place what was issued and could not be."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The CA and the evidence of renewals, as far as options say; a record may say what they leave open."""

    ca_url: str | None
    root: Path | None
    metadata_url: str | None
    token_resource: str | None

    def of(self, record: records.Record) -> records.Record:
        """A record with what the options say in its place."""
        # The root that was recorded is the recorded CA's, and no other's.
        root = record.root if self.ca_url is None else None
        return replace(
            record,
            ca_url=self.ca_url or record.ca_url,
            root=self.root or root,
            metadata_url=self.metadata_url or record.metadata_url,
            token_resource=self.token_resource or record.token_resource,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """The task of a command.

    :ivar expires_in: renew with this much time left; None leaves it to the CA, or to a third of the life.
    :ivar after: the notifications after each renewal, beside the certificate's own.
    :ivar pairs: certificates and keys as they were typed; none for all that were ordered on this machine.
    :ivar force: renew, due or not.
    :ivar timeout: seconds for each certificate.
    :ivar roots_out: the file in which other programs find the CA's roots; None for none.
    """

    where: Directories
    wishes: renew.Wishes
    expires_in: str | None
    after: hooks.Hooks
    origin: Origin
    pairs: tuple[tuple[Path, Path], ...]
    force: bool
    timeout: float
    as_json: bool
    roots_out: Path | None = None

    def find(self, complain: Callable[[str], None]) -> list[records.Record]:
        """The pairs, each with what is known about how it was ordered.

        :param complain: called with a sentence about what cannot be read.
        """
        if not self.pairs:
            return [self.origin.of(record) for record in records.all_of(self.where.state, complain)]
        pairs = []
        for certificate, key in self.pairs:
            try:
                known = records.find(self.where.state, certificate)
            except (ClientError, OSError) as error:
                complain(sentence(error))
                continue
            # The files as they were typed, for messages.
            record = records.Record(certificate, key) if known is None else known
            pairs.append(self.origin.of(replace(record, certificate=certificate, key=key)))
        return pairs

    def run(self) -> None:
        """Renew what is due, each independently of the others.

        :raises ClientError: if one could not be renewed.
        """
        failures: list[str] = []
        statuses: list[int] = []
        pairs = self.find(failures.append)
        watch = RootWatch(self.where, notice)
        self._look_at_roots(watch, pairs, 0.0 if self.force else LOOK_SECONDS, failures.append)
        looked_after = 0
        for record in pairs:
            # A certificate that was removed or revoked gets no successor unless it is named.
            if not self.pairs and inventory.is_revoked(self.where.state, record.certificate):
                continue
            looked_after += 1
            try:
                self._one(record, watch)
            except renew.MissingError as error:
                if self.pairs:
                    failures.append(str(error))
                else:
                    looked_after -= 1
                    notice(f"{record.certificate} does not exist, so it is not renewed.")
            except (ClientError, OSError) as error:
                if len(pairs) == 1 and not failures:
                    raise
                failures.append(f"{record.certificate}: {sentence(error)}")
                statuses.append(getattr(error, "exit_status", errors.LOCAL))
        if not looked_after and not failures:
            raise ClientError(
                "This machine has ordered no certificate that is to be renewed. Name the files: acme-iid renew "
                "foo.crt foo.key"
            )
        if failures:
            total = max(looked_after, len(failures))
            failed = ClientError("\n".join([f"{len(failures)} of {total} were not renewed.", *failures]))
            failed.exit_status = min(statuses, default=errors.LOCAL)
            raise failed

    def _one(self, record: records.Record, watch: RootWatch) -> None:
        deadline = Deadline(self.timeout)
        new = self._finish(record, notice)
        if new is None:
            _, leaf = renew.current(record)
            if not self.force:
                due = self._due_at(record, leaf)
                if datetime.now(UTC) < due:
                    _not_due(record, leaf, due, self.as_json)
                    self._notify_if_pending(record, leaf)
                    return
                self._require_no_refusal(record, leaf)
            try:
                new = self._renew(record, deadline, notice, watch)
            except refusals.RefusedError as error:
                _add_advice(error)
                raise
        ca_url = record.ca_url or _ca_url(self.where)
        if self.as_json:
            achieved(ca_url, new, (record.certificate, record.key), as_json=True)
        else:
            click.echo(f"Your certificate has been saved in {printable(str(record.certificate))}.")
            if self.wishes.new_key:
                click.echo(f"Your private key has been saved in {printable(str(record.key))}.")
        self._notify(record, new.leaf)

    def _look_at_roots(
        self, watch: RootWatch, pairs: list[records.Record], within: float, complain: Callable[[str], None]
    ) -> None:
        """Look at the roots of the pairs' CAs, and have the file for others hold those of the command's CA.

        The system's store follows, where 'acme-iid trust install' was run.

        :param within: the seconds for which an earlier look counts.
        :param complain: called with a sentence if the file or the store cannot be written, or others not be told.
        """
        for ca_url, root in dict.fromkeys((record.ca_url, record.root) for record in pairs):
            # What is wrong with a CA that is not known is said of its certificates.
            with suppress(ClientError, OSError):
                watch.look(known_ca.load(self.where, ca_url, root), Deadline(self.timeout), within)
        try:
            if self.roots_out is not None:
                ca = known_ca.load(self.where, self.origin.ca_url, self.origin.root)
                RootsFile(self.roots_out, self.after).refresh(ca, environment())
        except (ClientError, OSError) as error:
            complain(f"{self.roots_out}: {sentence(error)}")
        try:
            system_trust.follow(self.where, complain)
        except (ClientError, OSError) as error:
            complain(f"What this system trusts could not follow the CA's roots: {sentence(error)}")

    def _renew(
        self, record: records.Record, deadline: Deadline, say: Callable[[str], None], watch: RootWatch
    ) -> Issued:
        """Renew a pair; where a chain does not verify, look for news of the roots and try once more.

        :raises refusals.RefusedError: if only an operator can change that the CA refuses.
        """
        try:
            return self._renew_once(record, deadline, say)
        except ClientError as error:
            if not error.untrusted:
                raise
            ca = known_ca.load(self.where, record.ca_url, record.root)
            if not watch.look(ca, deadline, AGAIN_SECONDS):
                raise
        return self._renew_once(record, deadline, say)

    def _renew_once(self, record: records.Record, deadline: Deadline, say: Callable[[str], None]) -> Issued:
        """Renew a pair, and keep on the disk what another run has to know of it.

        :raises refusals.RefusedError: if only an operator can change that the CA refuses.
        """
        state, certificate = self.where.state, record.certificate
        try:
            issued = renew.renew(
                record, self.wishes, self.where, os.environ, deadline, say, self._installing(record, say)
            )
        except CaError as error:
            if not refusals.lasts(error):
                raise
            _, leaf = renew.current(record)
            raise refusals.RefusedError(refusals.keep(state, certificate, leaf, error, time.time())) from error
        refusals.forget(state, certificate)
        return issued

    def _finish(self, record: records.Record, say: Callable[[str], None]) -> Issued | None:
        """Put in place what was issued before and could not be; returns it, None if nothing was kept.

        :raises ClientError: if it still cannot be put in place.
        """
        return renew.finish(record, self.wishes, self.where, self._installing(record, say))

    def _installing(
        self, record: records.Record, say: Callable[[str], None]
    ) -> Callable[[x509.Certificate | None], None]:
        """A function that keeps a pending notification, just before a certificate is replaced."""
        return lambda before: self._notifications.keep(record, before, say)

    def _require_no_refusal(self, record: records.Record, leaf: x509.Certificate) -> None:
        """Leave the CA alone while a refusal stands.

        :raises refusals.RefusedError: with what it has said.
        """
        refusal = refusals.standing(self.where.state, record.certificate, leaf, time.time())
        if refusal is not None:
            error = refusals.RefusedError(refusal)
            _add_advice(error)
            raise error

    def _due_at(self, record: records.Record, leaf: x509.Certificate) -> datetime:
        planned = schedule.planned_at(leaf, None, self.expires_in)
        if self.expires_in is not None or planned <= datetime.now(UTC):
            return planned
        try:
            window = renew.advice(record, leaf, self.where, Deadline(min(self.timeout, _ADVICE_SECONDS)))
        except ClientError:
            # Without its word, nothing is urgent yet.
            return planned
        if window is not None and window.explanation is not None:
            notice(f"The CA explains when it would like {record.certificate} renewed: {window.explanation}")
        return schedule.planned_at(leaf, window)

    def stay(self) -> None:
        """Renew each whenever it is due, until SIGTERM."""
        from acme_iid.systemd import Notifier
        from acme_iid_client.renewal.daemon import Daemon
        from acme_iid_client.renewal.log import Journal
        from acme_iid_client.renewal.scheduled_pair import stamp, stamp_of
        from acme_iid_client.renewal.workers import Duties

        journal = Journal(as_json=self.as_json)

        def say(text: str) -> None:
            journal.info("notice", text)

        watch = RootWatch(self.where, say)

        def complain(text: str) -> None:
            journal.error("roots", text)

        def look(within: float) -> None:
            pairs: list[records.Record] = []
            # The daemon says what is wrong with records.
            with suppress(ClientError, OSError):
                pairs = self.find(lambda _text: None)
            self._look_at_roots(watch, pairs, within, complain)

        looking = Looking(look, complain)
        revocations = inventory.revocations(self.where.state)
        duties = Duties(
            find=CachedRecords(self.where, self.find, lambda text: journal.error("unusable", text)).get,
            # A certificate that is revoked stays the file that it is.
            stamp=lambda record: (*stamp(record), *stamp_of(revocations), *self._finishing_again(record)),
            look=lambda record: self._look(record, say),
            renew=lambda record: self._renew(record, Deadline(self.timeout), say, watch).leaf,
            look_at_roots=looking.ring,
            notify=self._notify,
            advise=lambda record, leaf: renew.advice(record, leaf, self.where, Deadline(_ADVICE_SECONDS)),
            expires_in=self.expires_in,
            seconds=lambda record: self.timeout + self._notifications.seconds(record),
        )
        Daemon(duties, journal, Notifier(os.environ), self.force).run()

    def _finishing_again(self, record: records.Record) -> tuple[int, ...]:
        """A value that changes when it is time to try again to put an issued certificate in place."""
        return (
            (int(time.monotonic() / _FINISH_AGAIN),)
            if pending_installations.exists(self.where.state, record.certificate)
            else ()
        )

    def _look(self, record: records.Record, say: Callable[[str], None]) -> Current:
        """A pair as it is, for the daemon.

        :raises MissingError: if there is no certificate.
        :raises ClientError: if the pair cannot be used.
        :raises OSError: if it cannot be looked at.
        """
        from acme_iid_client.renewal.workers import Current

        state, certificate = self.where.state, record.certificate
        if not certificate.exists():
            # A first order whose files could not be written; a renewal that could not be put in place is tried again
            # as a renewal.
            self._finish(record, say)
        _, leaf = renew.current(record)
        return Current(
            leaf,
            # One that is named is renewed whatever was done to it.
            not self.pairs and inventory.is_revoked(state, certificate),
            self._notifications.pending(record, leaf),
            refusals.standing(state, certificate, leaf, time.time()),
        )

    def _notify_if_pending(self, record: records.Record, leaf: x509.Certificate) -> None:
        if self._notifications.pending(record, leaf):
            self._notify(record, leaf)

    def _notify(self, record: records.Record, leaf: x509.Certificate) -> None:
        self._notifications.send(record, leaf, record.ca_url or _ca_url(self.where))

    @property
    def _notifications(self) -> Notifications:
        return Notifications(self.where.state, self.after)


def _ca_url(where: Directories) -> str:
    return known_ca.load(where).ca_url


def _add_advice(error: refusals.RefusedError) -> None:
    until = certificates.rfc3339(datetime.fromtimestamp(error.refusal.until, UTC))
    error.add(f"Only an operator can change that. The CA is asked again from {until} on, or now with --force.")


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
    renew.parse_not_after(text, datetime.now(UTC))


def check_expires_in(text: str | None) -> None:
    """See that ``--expires-in`` makes sense.

    :raises ClientError: if it does not.
    """
    if text is not None:
        certificates.parse_left(text, timedelta(days=1))
