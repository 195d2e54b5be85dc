"""The notifications after a renewal: sent, and kept on the disk until all of them were."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from acme_iid_client.errors import ClientError, sentence
from acme_iid_client.renewal import hooks, pending_notifications, systemd
from acme_iid_client.renewal.hooks import Hooks
from acme_iid_client.storage.records import Record


@dataclass(frozen=True, slots=True)
class Notifications:
    """The notifications of one command's renewals.

    :ivar state: the directory of the program's own files.
    :ivar after: those that follow each renewal.
    """

    state: Path
    after: Hooks

    def keep(self, record: Record, before: x509.Certificate | None, say: Callable[[str], None]) -> None:
        """Keep that they are pending, just before a certificate is replaced.

        :param before: the certificate until then; None if there is none.
        :param say: called with a sentence if they cannot be kept.
        """
        if self.after.is_empty:
            return
        try:
            pending_notifications.keep(self.state, record.certificate, before)
        except OSError as error:
            say(f"If the command after this renewal fails, it will not be run again: {sentence(error)}")

    def pending(self, record: Record, leaf: x509.Certificate) -> bool:
        """Whether somebody is still to be told of a certificate."""
        return not self.after.is_empty and pending_notifications.pending(self.state, record.certificate, leaf)

    def send(self, record: Record, leaf: x509.Certificate, ca_url: str) -> None:
        """Send them all.

        :raises ClientError: if one fails; all others are sent nevertheless.
        """
        try:
            self.after.run({**environment(), **hooks.variables(record, leaf, ca_url)})
        except ClientError as error:
            raise ClientError(f"{record.certificate} was renewed, but a notification failed: {error}") from error
        if not self.after.is_empty:
            pending_notifications.remove(self.state, record.certificate)


def environment() -> Mapping[str, str]:
    """The environment for commands: without systemd's variables for this process."""
    return {name: value for name, value in os.environ.items() if name not in systemd.VARIABLES}
