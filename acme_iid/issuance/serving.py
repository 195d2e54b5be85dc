"""The HTTPS server's own certificate: from the CA's intermediate, short-lived, in a file of its own each time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from acme_iid.durable import write_new
from acme_iid.issuance import keys
from acme_iid.issuance.ca import CertificateAuthority, LeafRequest
from acme_iid.protocol.identifiers import Identifier


class ServingCertificate:
    """The certificate in force, renewed by :meth:`issue`.

    Key and chain are in one file, and a file is never changed: a worker that starts while the certificate is renewed
    reads the old pair or the new one, never half of each.

    :param folder: where the files are, made with mode 0700; they are named by this process, so that two servers in
        one home leave each other's alone.
    :param lifetime: seconds.
    """

    def __init__(self, folder: Path, authority: CertificateAuthority, lifetime: int) -> None:
        self._folder = folder
        self._authority = authority
        self._lifetime = lifetime
        self._files: list[Path] = []
        self._not_after = 0
        self.renew_at = 0
        """When a third of the lifetime is left, seconds."""

    @property
    def until(self) -> str:
        """When the certificate in force ends, RFC 3339 in UTC."""
        return datetime.fromtimestamp(self._not_after, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def issue(self, identifiers: Sequence[Identifier], now: int) -> Path:
        """Make a new key and certificate for ``identifiers``, and return the PEM file that holds both.

        :raises OSError: if the file cannot be written.
        :raises AcmeError: if the intermediate is at its end.
        """
        key = keys.generate()
        request = LeafRequest(key.public_key(), identifiers, now + self._lifetime, serving=True)
        issued = self._authority.issue(request, now)
        if not self._files:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._remove_leftovers()
        path = self._folder / f"{os.getpid()}-{issued.serial:x}.pem"
        write_new(path, keys.to_pem(key) + issued.chain_pem.encode(), 0o600)
        self._files.append(path)
        # A worker that is just starting may still read the one before.
        while len(self._files) > 2:
            self._files.pop(0).unlink(missing_ok=True)
        self._not_after = issued.not_after
        self.renew_at = issued.not_after - (issued.not_after - now) // 3
        return path

    def discard(self) -> None:
        """Remove the files of this process."""
        for path in self._files:
            with suppress(OSError):
                path.unlink()

    def _remove_leftovers(self) -> None:
        """Remove what servers that were killed have left."""
        for path in self._folder.glob("*-*.pem"):
            owner = path.name.partition("-")[0]
            if owner.isascii() and owner.isdigit() and (int(owner) == os.getpid() or not _alive(int(owner))):
                path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
