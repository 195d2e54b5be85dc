"""The notifications after a renewal: sent, and kept on the disk until all of them were."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from acme_iid import systemd
from acme_iid_client.errors import ClientError, sentence
from acme_iid_client.renewal import hooks, pending_notifications
from acme_iid_client.renewal.hooks import Hooks
from acme_iid_client.storage.records import Record


@dataclass(frozen=True, slots=True)
class Notifications:
    """The notifications of one command's renewals.

    :ivar state: the directory of the program's own files.
    :ivar after: those that follow each renewal. A certificate can have a command of its own beside them.
    """

    state: Path
    after: Hooks = field(default_factory=Hooks)

    def seconds(self, record: Record) -> float:
        """The longest that they take."""
        return self.after.seconds + (0.0 if record.command is None else record.command_seconds)

    def keep(self, record: Record, before: x509.Certificate | None, say: Callable[[str], None]) -> None:
        """Keep that they are pending, just before a certificate is replaced.

        :param before: the certificate until then; None if there is none.
        :param say: called with a sentence if they cannot be kept.
        """
        if self._nobody_hears(record):
            return
        try:
            pending_notifications.keep(self.state, record.certificate, before)
        except OSError as error:
            say(f"If the command after this renewal fails, it will not be run again: {sentence(error)}")

    def pending(self, record: Record, leaf: x509.Certificate) -> bool:
        """Whether somebody is still to be told of a certificate."""
        return not self._nobody_hears(record) and pending_notifications.pending(self.state, record.certificate, leaf)

    def send(self, record: Record, leaf: x509.Certificate, ca_url: str) -> None:
        """Send them all: the certificate's own first.

        :raises ClientError: if one fails; all others are sent nevertheless.
        """
        env, failures = {**environment(), **hooks.variables(record, leaf, ca_url)}, []
        acts: tuple[Callable[[], None], ...] = (lambda: _own(record).run(env), lambda: self.after.run(env))
        for act in acts:
            try:
                act()
            except ClientError as error:
                failures.append(str(error))
        if failures:
            raise ClientError(f"{record.certificate} is in place, but a notification failed: {' '.join(failures)}")
        if not self._nobody_hears(record):
            pending_notifications.remove(self.state, record.certificate)

    def _nobody_hears(self, record: Record) -> bool:
        return record.command is None and self.after.is_empty


def _own(record: Record) -> Hooks:
    """The command that a certificate has of its own.

    :raises ClientError: if it cannot be run as it is, or another user of the machine could have changed it.
    """
    return Hooks() if record.command is None else hooks.parse(record.command, record.command_seconds)


def environment() -> Mapping[str, str]:
    """The environment for commands: without systemd's variables for this process."""
    return {name: value for name, value in os.environ.items() if name not in systemd.VARIABLES}
