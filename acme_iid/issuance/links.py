"""New roots and the links to them, as files that are to be announced: each is one that clients will take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from acme_iid.issuance.home import load_certificate, shown
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.roots import is_signed_by, subject_of
from acme_iid.protocol.public_keys import AUTHORITIES

LEAST_PATH_LENGTH = 2
"""The number of CA certificates below a former root, at least: the link and an intermediate."""


def load_root(path: Path, now: int) -> x509.Certificate:
    """Return the new root in a PEM file, which clients are to trust.

    :param now: seconds.
    :raises CAFileError: if the file cannot be read, or holds what is no root.
    """
    root = load_certificate(path)
    if (refusal := AUTHORITIES.refusal(root.public_key(), root.public_key_algorithm_oid)) is not None:
        raise CAFileError(f"{path} has a key that no CA signs with: {refusal}")
    _require_authority(root, path)
    if not is_signed_by(root, root):
        raise CAFileError(
            f"{path} is no root: {shown(root.issuer)!r} signed it; clients trust roots that sign themselves"
        )
    _require_valid(root, path, now)
    return root


def load_link(path: Path, root: x509.Certificate, former: Sequence[x509.Certificate], now: int) -> x509.Certificate:
    """Return the link to a new root in a PEM file.

    :param former: the roots that clients trust: one of them has to have signed it.
    :param now: seconds.
    :raises CAFileError: if the file cannot be read, or clients of the former roots would not take it.
    """
    link = load_certificate(path)
    if (subject_of(link), link.public_key(), _identifier(link)) != (
        subject_of(root), root.public_key(), _identifier(root)
    ):  # fmt: skip
        raise CAFileError(
            f"{path} is no link to the new root: it has to have the subject, the key and the key identifier of it; "
            "make it with 'acme-iid-ca issuer roots link'"
        )
    _require_authority(link, path)
    signer = next((entry for entry in former if is_signed_by(link, entry)), None)
    if signer is None:
        raise CAFileError(
            f"{path} was not signed with the key of a root that clients trust, but by {shown(link.issuer)!r}; clients "
            "would refuse the new root. An intermediate's signature does not do: make the link where the former root's "
            "key is, with 'acme-iid-ca issuer roots link'"
        )
    require_room(signer)
    _require_valid(link, path, now)
    return link


def require_room(root: x509.Certificate) -> None:
    """Refuse a root whose path length leaves no room for a link.

    :raises CAFileError: if it does not.
    """
    length = root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    if length is not None and length < LEAST_PATH_LENGTH:
        raise CAFileError(
            f"the former root has the path length {length}, which leaves no room for a link above an intermediate: "
            "clients would refuse the chain. Have clients bootstrap the new root by its fingerprint"
        )


def _identifier(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (ValueError, x509.ExtensionNotFound):
        return None


def _require_authority(certificate: x509.Certificate, path: Path) -> None:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        usable = basic.ca and usage.key_cert_sign and basic.path_length != 0
    except (ValueError, x509.ExtensionNotFound):
        usable = False
    if not usable or _identifier(certificate) is None:
        raise CAFileError(
            f"{path} is no certificate of a root: it needs basicConstraints with CA and without the path length 0, "
            "keyUsage with keyCertSign, and a subject key identifier"
        )


def _require_valid(certificate: x509.Certificate, path: Path, now: int) -> None:
    if not certificate.not_valid_before_utc.timestamp() <= now < certificate.not_valid_after_utc.timestamp():
        raise CAFileError(
            f"{path} is valid from {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}, and not now"
        )
