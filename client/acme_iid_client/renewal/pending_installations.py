"""Issued certificates, kept until they are in place: a disk that is full then costs no further order.

A file for each certificate stands in the state directory, private, from the answer of the CA until the installation is
done. Room for it is taken before the order, so that it can be written whatever happens to the disk meanwhile. What
stands there the next time is put in place instead of ordering, as long as it serves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from acme_iid_client.acme.order import Issued
from acme_iid_client.errors import ClientError
from acme_iid_client.renewal.schedule import planned_at
from acme_iid_client.storage import directories, pairs
from acme_iid_client.storage.descriptors import open_directory
from acme_iid_client.storage.entries import Entry
from acme_iid_client.x509 import keys
from acme_iid_client.x509.certificates import load_certificates

_ROOM = 64 * 1024
"""Octets: more than a chain and a key take."""


@dataclass(frozen=True, slots=True)
class PendingInstallation:
    """A certificate that was issued and is not in place yet.

    :ivar issued: the certificate; its key if that was made for it, or None if the key stays what it is.
    :ivar permissions: the permissions that its files are to have.
    :ivar purpose: the request that it was issued for, to be compared only; empty for a renewal.
    """

    issued: Issued
    permissions: pairs.Permissions = field(default_factory=pairs.Permissions)
    purpose: Mapping[str, object] = field(default_factory=dict)

    def is_fresh(self, now: datetime) -> bool:
        """Whether it is worth being put in place: a renewal would not be due at once."""
        return self.issued.leaf.not_valid_before_utc <= now < planned_at(self.issued.leaf)

    def put_in_place(self, where: pairs.Pair, permissions: pairs.Permissions | None = None) -> None:
        """Install it.

        :param where: the certificate's file twice if the key is somebody else's.
        :param permissions: others than those that were asked for when it was ordered.
        :raises ClientError: if that is impossible; it stays kept then.
        """
        chosen = self.permissions if permissions in (None, pairs.Permissions()) else permissions
        assert chosen is not None
        issued = self.issued
        try:
            if where.certificate == where.key:
                pairs.install_file(where.certificate, issued.certificate_pem, chosen, private=False)
            elif issued.key is None:
                pairs.install_certificate(where, issued.certificate_pem, chosen)
            else:
                pairs.install(where, issued.certificate_pem, keys.to_pem(issued.key), chosen)
        except OSError as error:
            raise ClientError(
                f"{error.filename or where.certificate} could not be put in place: {error.strerror}. The "
                "certificate that the CA issued is kept, and the next try puts it in place without another "
                "order."
            ) from error


def directory(state: Path) -> Path:
    """The directory of these certificates."""
    return state / "issued"


@dataclass(frozen=True, slots=True)
class Room:
    """Room on the disk that was taken before an order."""

    _taken: Entry
    _target: Entry

    def keep(self, kept: PendingInstallation) -> None:
        """Keep what was issued, durably.

        :raises OSError: if even that is impossible.
        """
        issued, permissions = kept.issued, kept.permissions
        content = {
            "certificate": issued.certificate_pem.decode("ascii"),
            "key": None if issued.key is None else keys.to_pem(issued.key).decode("ascii"),
            "permissions": [permissions.mode, permissions.owner, permissions.group],
            "purpose": dict(kept.purpose),
        }
        self._taken.overwrite(json.dumps(content, indent=2).encode() + b"\n")
        self._taken.rename(self._target)
        self._target.directory.sync()


@contextlib.contextmanager
def room(state: Path, certificate: Path) -> Iterator[Room]:
    """Take room for what is going to be issued.

    :param certificate: the certificate's file.
    :raises ClientError: if there is no room, so that nothing should be ordered.
    """
    file = _file(state, certificate)
    with contextlib.ExitStack() as stack:
        try:
            directories.make_directory(file.parent)
            target = stack.enter_context(open_directory(file.parent)).entry(file.name)
            taken = target.beside(f".{secrets.token_hex(8)}")
            stack.callback(taken.unlink)
            taken.create(b"\0" * _ROOM, 0o600)
        except OSError as error:
            raise ClientError(
                f"A certificate could not be kept in {file.parent} ({error.strerror}), so nothing was ordered."
            ) from error
        yield Room(taken, target)


def exists(state: Path, certificate: Path) -> bool:
    """Whether anything is kept for a certificate's file, as far as that can be seen."""
    try:
        return _file(state, certificate).exists()
    except OSError:
        return False


def find(state: Path, certificate: Path) -> PendingInstallation | None:
    """The certificate that is kept for a certificate's file; None if no usable one is kept.

    :raises OSError: if it cannot be read.
    """
    file = _file(state, certificate)
    try:
        content = json.loads(file.read_bytes())
        chain = load_certificates(content["certificate"].encode("ascii"))
        key = content["key"]
        private = None if key is None else keys.load(key.encode("ascii"), str(file))
        permissions = pairs.Permissions(*content["permissions"])
        return PendingInstallation(Issued(chain, private, None), permissions, dict(content["purpose"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ClientError, ValueError, KeyError, TypeError, AttributeError):
        # A new order makes it unnecessary.
        return None


def drop(state: Path, certificate: Path) -> None:
    """Forget what is kept for a certificate's file: it is in place, or does not serve."""
    directories.remove_file(_file(state, certificate))


def _file(state: Path, certificate: Path) -> Path:
    name = hashlib.sha256(bytes(certificate.absolute())).hexdigest()[:32]
    return directory(state) / f"{name}.json"
