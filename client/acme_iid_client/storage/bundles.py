"""Further files with the same content as a pair: one PEM file with everything, and PKCS #12."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from acme_iid_client.errors import ClientError
from acme_iid_client.storage import pairs
from acme_iid_client.x509 import keys
from acme_iid_client.x509.certificates import load_certificates, names_in

_MAX_PASSWORD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Bundles:
    """The further files of a pair.

    :ivar bundle: a PEM file with the certificate, the intermediate and the key, as HAProxy reads it.
    :ivar p12: a PKCS #12 file with the same.
    :ivar password_file: the file whose first line is the password of ``p12``; None leaves it unencrypted.
    """

    bundle: Path | None = None
    p12: Path | None = None
    password_file: Path | None = None

    @property
    def existing(self) -> list[Path]:
        """Those that exist."""
        return [path for path in self._paths if path.exists()]

    @property
    def _paths(self) -> list[Path]:
        return [path for path in (self.bundle, self.p12) if path is not None]

    def check(self) -> None:
        """See that they can be written.

        :raises ClientError: if they cannot.
        """
        for path in self._paths:
            pairs.target_of(path)
        self._password()

    def rehearse(self, permissions: pairs.Permissions) -> None:
        """Try to write them, as :func:`~acme_iid_client.storage.pairs.rehearse` has it.

        :raises ClientError: if they cannot be written.
        """
        self.check()
        for path in self._paths:
            where = pairs.target_of(path)
            pairs.rehearse(pairs.Pair(where, where), permissions)

    def refresh(self, pair: pairs.Pair, permissions: pairs.Permissions) -> None:
        """Write those anew that do not hold what the pair holds.

        Called after every installation, and before anything else on a pair: so a copy that a crash left behind is
        made good like the pair itself. Each is replaced whole, and holds a certificate and a key that belong together.

        :raises ClientError: if the pair cannot be read.
        :raises OSError: if one cannot be written.
        """
        if self.bundle is None and self.p12 is None:
            return
        chain, key = pairs.read(pair.certificate), pairs.read(pair.key, to_copy=True)
        # In a directory of somebody else's, the one or the other may just have become something else.
        if not pairs.match(chain, key):
            raise ClientError(f"{pair.key} is not the key of {pair.certificate}, so nothing was copied from them.")
        if self.bundle is not None:
            where = pairs.target_of(self.bundle)
            if _content(where) != chain + key:
                pairs.install_file(where, chain + key, permissions)
        if self.p12 is not None:
            where, password = pairs.target_of(self.p12), self._password()
            leaf, *rest = load_certificates(chain)
            private = keys.load(key, str(pair.key))
            if not _holds(_content(where), password, leaf):
                encryption = (
                    serialization.NoEncryption()
                    if password is None
                    else serialization.BestAvailableEncryption(password)
                )
                content = pkcs12.serialize_key_and_certificates(_alias(leaf), private, leaf, rest, encryption)
                pairs.install_file(where, content, permissions)

    def _password(self) -> bytes | None:
        if self.password_file is None:
            return None
        with self.password_file.open("rb") as stream:
            line = stream.read(_MAX_PASSWORD_BYTES).split(b"\n", 1)[0].rstrip(b"\r")
        if not line:
            raise ClientError(f"{self.password_file} holds no password in its first line.")
        return line


def _content(file: Path) -> bytes:
    """The content of a file; empty for one that is missing."""
    try:
        return pairs.read(file)
    except FileNotFoundError:
        return b""


def _alias(leaf: x509.Certificate) -> bytes:
    """The name of an entry in a PKCS #12 file, as programs ask for it: the common name, or else the first name."""
    subject = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    texts = [*(str(attribute.value) for attribute in subject), *names_in(leaf), f"{leaf.serial_number:x}"]
    return next(text for text in texts if text.strip()).encode()


def _holds(content: bytes, password: bytes | None, expected: x509.Certificate) -> bool:
    try:
        held = pkcs12.load_pkcs12(content, password).cert
    except ValueError:
        return False
    return held is not None and held.certificate == expected and bool(held.friendly_name)
