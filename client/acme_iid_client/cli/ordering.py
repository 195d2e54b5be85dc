"""The files of an order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from acme_iid.terminal import durations
from acme_iid_client.acme.order import Issued, Request
from acme_iid_client.cli.terminal import may_overwrite, notice
from acme_iid_client.errors import ClientError
from acme_iid_client.renewal import pending_installations
from acme_iid_client.renewal.notifications import Notifications
from acme_iid_client.storage import pairs, records
from acme_iid_client.storage.bundles import Bundles
from acme_iid_client.storage.directories import Directories
from acme_iid_client.x509 import csr, keys, names

Shown = tuple[Path, Path | None]
"""The certificate's file and the key's, as the person spelled them; no key's if there was a signing request."""


@dataclass(frozen=True, slots=True)
class Target:
    """The files that were asked for.

    :ivar crt: None for one that is called like the first name; ``key`` the same.
    :ivar with_key: whether there is a key to be written.
    """

    crt: Path | None
    key: Path | None
    with_key: bool
    bundles: Bundles
    permissions: pairs.Permissions

    def prepare(self, first: str, force: bool) -> Shown:
        """See that the files can be written, and ask where they exist.

        :param first: the first name, canonical.
        :raises ClientError: if they cannot, or are to stay.
        """
        stem = names.file_stem(first)
        crt, key = self.crt or Path(f"{stem}.crt"), self.key or Path(f"{stem}.key")
        if not self.with_key:
            there = pairs.target_of(crt)
            may_overwrite([there] if there.exists() else [], force)
            pairs.rehearse(pairs.Pair(there, there), self.permissions)
            return crt, None
        pair = pairs.pair(crt, key)
        pairs.recover(pair)
        self.bundles.check()
        may_overwrite([*pair.existing, *self.bundles.existing], force)
        pairs.rehearse(pair, self.permissions)
        self.bundles.rehearse(self.permissions)
        return crt, key

    def install(self, waiting: pending_installations.PendingInstallation, shown: Shown) -> None:
        """Put the certificate, and its key if there is one, in place.

        :raises ClientError: if that is impossible; what was in use still is.
        """
        crt, key = shown
        if key is None:
            there = pairs.target_of(crt)
            waiting.put_in_place(pairs.Pair(there, there), self.permissions)
        else:
            waiting.put_in_place(pairs.pair(crt, key), self.permissions)

    def refresh(self, shown: Shown) -> None:
        """Write the further files with the same content.

        :raises OSError: if one cannot be written.
        """
        crt, key = shown
        if key is not None:
            self.bundles.refresh(pairs.pair(crt, key), self.permissions)


def obtain(
    state: Path,
    shown: Shown,
    request: Request,
    ca_url: str,
    not_after: str | None,
    permissions: pairs.Permissions,
    get: Callable[[], Issued],
) -> pending_installations.PendingInstallation:
    """The certificate of the same order that could not be put in place earlier, or one that is issued now.

    :param not_after: as it was typed.
    :param get: orders it.
    :returns: the certificate that is kept now, until it is in place.
    """
    key = request.key
    kind = str(key) if isinstance(key, keys.KeyType) else keys.spki(key.public_key()).hex()
    purpose = {
        "ca": ca_url,
        "names": request.names,
        "further": request.further,
        "provisioner": request.provisioner,
        "profile": request.profile,
        "not_after": not_after,
        "key": kind,
        "key_file": None if shown[1] is None else str(shown[1].absolute()),
    }
    waiting = pending_installations.find(state, shown[0])
    if waiting is not None and waiting.purpose == purpose and waiting.is_fresh(datetime.now(UTC)):
        notice("An earlier certificate for this order, which could not be put in place, is used now.")
        return waiting
    with pending_installations.room(state, shown[0]) as room:
        made = pending_installations.PendingInstallation(get(), permissions, purpose)
        room.keep(made)
    return made


def record(
    where: Directories,
    target: Target,
    shown: Shown,
    ca_url: str,
    root: Path | None,
    metadata_url: str | None,
    token_resource: str | None,
    not_after: str | None,
    profile: str | None,
    command: tuple[str | None, float],
) -> records.Record | None:
    """Keep what a renewal needs to know, and that the certificate's own command is still to be run.

    :param not_after: as it was typed. A moment that has come is no measure for the next certificate, but a duration is.
    :param command: the certificate's own, and the seconds that it may take.
    :returns: the record; None if the key is elsewhere, so that nothing renews the certificate.
    """
    if shown[1] is None:
        return None
    life = not_after if not_after and durations.parse(not_after) else None
    crt, key = shown[0].absolute(), shown[1].absolute()
    record = records.Record(
        crt, key, ca_url, root, metadata_url, token_resource, life, target.bundles, where.account_key, profile, *command
    )
    records.save(where.state, record)
    Notifications(where.state).keep(record, None, notice)
    return record


def read_csr(file: Path, required: list[str]) -> tuple[x509.CertificateSigningRequest, list[str]]:
    """A signing request and its names, the one that was typed first.

    :raises ClientError: if the file is not a request, or the request does not ask for these names.
    """
    request = csr.load(file.read_bytes(), str(file))
    asked = csr.names(request, str(file))
    if missing := [name for name in required if name not in asked]:
        raise ClientError(f"The request in {file} does not ask for {missing[0]}, but for {', '.join(asked)}.")
    return request, list(dict.fromkeys([*required, *asked]))
