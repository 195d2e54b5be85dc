"""Where an order's files go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from acme_iid_client import csr, files, keys, names, records
from acme_iid_client.certificates import parse_duration
from acme_iid_client.cli.terminal import may_overwrite
from acme_iid_client.copies import Copies
from acme_iid_client.errors import ClientError
from acme_iid_client.order import Issued
from acme_iid_client.places import Places

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
    copies: Copies
    permissions: files.Permissions

    def prepare(self, first: str, force: bool) -> Shown:
        """See that the files can be written, and ask where they exist.

        :param first: the first name, canonical.
        :raises ClientError: if they cannot, or are to stay.
        """
        stem = names.file_stem(first)
        crt, key = self.crt or Path(f"{stem}.crt"), self.key or Path(f"{stem}.key")
        if not self.with_key:
            there = files.place(crt)
            may_overwrite([there] if there.exists() else [], force)
            return crt, None
        pair = files.pair(crt, key)
        files.recover(pair)
        self.copies.check()
        may_overwrite([*pair.existing, *self.copies.existing], force)
        return crt, key

    def install(self, issued: Issued, shown: Shown) -> None:
        """Put everything in place.

        :raises OSError: if it cannot be written; what was in use still is.
        """
        crt, key = shown
        if key is None or issued.key is None:
            files.install_file(files.place(crt), issued.certificate_pem, self.permissions, private=False)
            return
        pair = files.pair(crt, key)
        files.install(pair, issued.certificate_pem, keys.to_pem(issued.key), self.permissions)
        self.copies.refresh(pair, self.permissions)


def record(
    where: Places,
    target: Target,
    shown: tuple[Path, Path],
    ca_url: str,
    root: Path | None,
    metadata_url: str | None,
    azure_resource: str | None,
    not_after: str | None,
    profile: str | None,
) -> None:
    """Keep what a renewal needs to know.

    :param not_after: as it was typed. A moment that has come is no measure for the next certificate, but a duration is.
    """
    life = not_after if not_after and parse_duration(not_after) else None
    crt, key = (path.absolute() for path in shown)
    kept = records.Record(
        crt, key, ca_url, root, metadata_url, azure_resource, life, target.copies, where.account_key, profile
    )
    records.save(where.state, kept)


def read_csr(file: Path, wanted: list[str]) -> tuple[x509.CertificateSigningRequest, list[str]]:
    """A signing request and its names, the one that was typed first.

    :raises ClientError: if it is none, or does not ask for what was typed.
    """
    request = csr.load(file.read_bytes(), str(file))
    asked = csr.names(request, str(file))
    if missing := [name for name in wanted if name not in asked]:
        raise ClientError(f"The request in {file} does not ask for {missing[0]}, but for {', '.join(asked)}.")
    return request, list(dict.fromkeys([*wanted, *asked]))
