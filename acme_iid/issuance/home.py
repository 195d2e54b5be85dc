"""The CA's files: ``certs/root_ca.crt``, and for each issuer ``issuers/ID/{certificate.pem,chain.pem,issuer.toml}``.

ID is the beginning of the SHA-256 of the issuer's SubjectPublicKeyInfo. ``chain.pem`` is what follows a leaf: the
issuer's own certificate and those above it, without the root. ``issuer.toml`` says where its key is.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from acme_iid.durable import replace_file, sync_names, write_new
from acme_iid.issuance import keys
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import SHORT_ID_LENGTH, Issuer, Signer, key_id
from acme_iid.issuance.keys import CAFileError, PrivateKey
from acme_iid.protocol.public_keys import AUTHORITIES, PublicKey

ROOT_CERTIFICATE = Path("certs/root_ca.crt")
ROOT_KEY = Path("secrets/root_ca_key")
"""The root's key signs further intermediates only and may be kept elsewhere."""
FOLDER = Path("issuers")
CERTIFICATE = "certificate.pem"
CHAIN = "chain.pem"
DESCRIPTION = "issuer.toml"
_FILE = "file:"
_NO_ISSUER = (
    "{} holds no issuer: the CA's request was not answered yet (import the answer with 'acme-iid-ca issuer import "
    "CHAIN'), or the home was made by another version ('acme-iid-ca init' makes a new one)"
)


def folder_of(issuer_id: str) -> Path:
    """Return where an issuer's files are in a home."""
    return FOLDER / issuer_id[:SHORT_ID_LENGTH]


def key_file_of(issuer_id: str) -> Path:
    """Return where the key of an issuer is in a home, if it is in a file."""
    return Path("secrets") / f"issuer_{issuer_id[:SHORT_ID_LENGTH]}_key"


def description(key_file: Path) -> str:
    """Return the contents of ``issuer.toml``; ``key_file`` is relative to the home, or absolute."""
    return f'# Where the key is: "file:" and a path, from the home\'s folder on.\nkey = "{_FILE}{key_file}"\n'


def files_of(signer: Signer, above: Sequence[x509.Certificate]) -> dict[Path, tuple[bytes, int]]:
    """Return the files of an issuer, with their modes, by their names in a home; its key is not among them."""
    issuer_id = key_id(signer.certificate.public_key())
    folder = folder_of(issuer_id)
    chain = b"".join(entry.public_bytes(Encoding.PEM) for entry in (signer.certificate, *above))
    return {
        folder / CERTIFICATE: (signer.certificate.public_bytes(Encoding.PEM), 0o644),
        folder / CHAIN: (chain, 0o644),
        folder / DESCRIPTION: (description(key_file_of(issuer_id)).encode(), 0o644),
    }


def add(home: Path, signer: Signer, above: Sequence[x509.Certificate]) -> None:
    """Write the files of an issuer whose key is in its place: all of them or none, durably.

    :raises FileExistsError: if the issuer is there.
    :raises OSError: if a file cannot be written.
    """
    files = files_of(signer, above)
    folder = home / folder_of(key_id(signer.certificate.public_key()))
    folder.parent.mkdir(mode=0o755, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    partial.mkdir(mode=0o755)
    try:
        for path, (data, mode) in files.items():
            write_new(partial / path.name, data, mode)
        sync_names(partial)
        if folder.exists():
            raise FileExistsError(17, "the issuer is in the home already", str(folder))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_names(folder.parent)


def replace_root(home: Path, root: x509.Certificate) -> None:
    """Write the root that clients bootstrap from, whole or not at all."""
    (home / ROOT_CERTIFICATE).parent.mkdir(mode=0o755, exist_ok=True)
    replace_file(home / ROOT_CERTIFICATE, root.public_bytes(Encoding.PEM), 0o644)


def load(home: Path, password: str | None = None, retired: Collection[str] = ()) -> CertificateAuthority:
    """Return the CA in ``home``; no root's private key is touched.

    :param password: of the issuers' private keys, where they are encrypted.
    :param retired: the ids of issuers that the store says are retired. Their files are not read, and their keys may be
        gone. A key that is missing for any other issuer is an error.
    :raises CAFileError: if a file is missing, unreadable, or those of an issuer do not belong together.
    """
    passed_over = {folder_of(issuer_id).name for issuer_id in retired}
    folders = [folder for folder in _entries(home / FOLDER) if folder.name not in passed_over]
    if not folders:
        raise no_issuer(home)
    roots = load_roots(home)
    issuers = [_load_issuer(home, folder, roots, password) for folder in folders]
    # Before any server has started, the first one that was made is the one that signs.
    return CertificateAuthority(roots, sorted(issuers, key=lambda issuer: issuer.certificate.not_valid_before_utc))


def load_issuer(home: Path, issuer_id: str, password: str | None) -> Issuer:
    """Return one issuer in ``home``, with its key.

    :raises CAFileError: as :func:`load` does.
    """
    return _load_issuer(home, home / folder_of(issuer_id), load_roots(home), password)


def load_roots(home: Path) -> tuple[x509.Certificate, ...]:
    """Return the roots in ``home``, the one in use first.

    :raises CAFileError: if the file cannot be read, or holds what is no root.
    """
    path = home / ROOT_CERTIFICATE
    roots = load_certificates(path)
    for root in roots:
        if (refusal := AUTHORITIES.refusal(root.public_key(), root.public_key_algorithm_oid)) is not None:
            raise CAFileError(f"{path} has a key that no CA signs with: {refusal}")
    return roots


def issuing_certificates(home: Path) -> tuple[x509.Certificate, ...]:
    """Return the certificates of all issuers in ``home``; no key is touched.

    :raises CAFileError: if one cannot be read, or there is none.
    """
    folders = _entries(home / FOLDER)
    if not folders:
        raise no_issuer(home)
    return tuple(load_certificate(folder / CERTIFICATE) for folder in folders)


def no_issuer(home: Path) -> CAFileError:
    """The error about a home without issuers."""
    return CAFileError(_NO_ISSUER.format(home / FOLDER))


def has_issuers(home: Path) -> bool:
    """Whether there are files of issuers in ``home``."""
    return bool(_entries(home / FOLDER))


def leftovers(home: Path) -> list[Path]:
    """Return what is in ``home`` of issuers, by the names there: what a new CA would take for its own."""
    found = [*(home / FOLDER).glob("*"), *(home / ROOT_KEY.parent).glob(key_file_of("*").name)]
    return sorted(path.relative_to(home) for path in found)


def chains(home: Path) -> tuple[tuple[x509.Certificate, ...], ...]:
    """Return for each issuer its certificate, those above it, and the root; no key is touched.

    :raises CAFileError: if a file cannot be read, or a chain leads to no root.
    """
    roots = load_roots(home)
    found = []
    for folder in _entries(home / FOLDER):
        chain = load_certificates(folder / CHAIN)
        found.append((*chain, _root_of(chain, roots, home, folder)))
    return tuple(found)


def key_place(home: Path, issuer_id: str) -> str:
    """Return where the key of an issuer in ``home`` is, as its ``issuer.toml`` says.

    :raises CAFileError: if that cannot be read.
    """
    return f"{_FILE}{_key_file(home, home / folder_of(issuer_id) / DESCRIPTION)}"


def has_key(home: Path, issuer_id: str) -> bool:
    """Whether the key of an issuer in ``home`` is where its ``issuer.toml`` says.

    :raises CAFileError: if that cannot be read.
    """
    return _key_file(home, home / folder_of(issuer_id) / DESCRIPTION).exists()


def has_waiting_key(home: Path, certificate: x509.Certificate) -> bool:
    """Whether a certificate is for a key that a request was made with in ``home``."""
    return (home / key_file_of(key_id(certificate.public_key()))).exists()


def waiting_key(home: Path, public_key: PublicKey) -> Path:
    """Return the file of the key that a request was made with, and which has no certificate yet.

    :raises CAFileError: if there is no such key, or there is a certificate for it already.
    """
    issuer_id = key_id(public_key)
    if (home / folder_of(issuer_id)).exists():
        raise CAFileError(f"{home / folder_of(issuer_id)} exists: this issuer was imported before")
    path = home / key_file_of(issuer_id)
    if not path.exists():
        raise CAFileError(
            "the first certificate is for a key that this CA does not have; import the answer to a request of this "
            "home, the intermediate first and the root last"
        )
    return path


def issuer_files(home: Path) -> list[Path]:
    """Return the files of all issuers in ``home``, their keys among them as far as ``issuer.toml`` names one.

    :raises CAFileError: if the issuers cannot be listed.
    """
    files: list[Path] = []
    for folder in _entries(home / FOLDER):
        files += [folder / name for name in (CERTIFICATE, CHAIN, DESCRIPTION)]
        with suppress(CAFileError):
            files.append(_key_file(home, folder / DESCRIPTION))
    return files


def _entries(folder: Path) -> list[Path]:
    try:
        # What begins with a dot is being written.
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CAFileError(f"the issuers in {folder} cannot be read: {error.strerror}") from error


def _load_issuer(home: Path, folder: Path, roots: Sequence[x509.Certificate], password: str | None) -> Issuer:
    certificate = load_certificate(folder / CERTIFICATE)
    chain = load_certificates(folder / CHAIN)
    key_file = _key_file(home, folder / DESCRIPTION)
    key = keys.load(key_file, password)
    if certificate.public_key() != key.public_key():
        raise CAFileError(f"{key_file} is not the key of {folder / CERTIFICATE}")
    if chain[0] != certificate:
        raise CAFileError(f"{folder / CHAIN} does not begin with the certificate in {folder / CERTIFICATE}")
    root = _root_of(chain, roots, home, folder)
    for below, above in zip(chain, (*chain[1:], root), strict=True):
        if not is_signed_by(below, above):
            raise CAFileError(f"{folder / CHAIN} is no chain: {_name(below)} was not signed by {_name(above)}")
        _require_ca(below, folder / CHAIN)
    return Issuer(Signer(certificate, key), root, chain[1:])


def _root_of(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], home: Path, folder: Path
) -> x509.Certificate:
    root = next((root for root in roots if is_signed_by(chain[-1], root)), None)
    if root is None:
        raise CAFileError(f"{folder / CHAIN} leads to no root in {home / ROOT_CERTIFICATE}")
    return root


def _key_file(home: Path, path: Path) -> Path:
    try:
        with path.open("rb") as stream:
            table = tomllib.loads(stream.read(keys.MAX_FILE_BYTES).decode())
    except OSError as error:
        raise CAFileError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CAFileError(f"{path} is no TOML: {error}") from error
    unknown = sorted(set(table) - {"key"})
    if unknown:
        raise CAFileError(f"{path} has keys that are not known: {', '.join(unknown)}; 'key' is the only one")
    key = table.get("key")
    if not isinstance(key, str) or not key.startswith(_FILE) or key == _FILE:
        raise CAFileError(f'{path} does not say where the key is; write key = "file:secrets/NAME"')
    return home / key.removeprefix(_FILE)


def _require_ca(certificate: x509.Certificate, path: Path) -> None:
    try:
        usable = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (ValueError, x509.ExtensionNotFound):
        usable = False
    if not usable:
        raise CAFileError(f"{path} is no chain: {_name(certificate)} is no CA certificate with a key identifier")


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether a certificate is one of an issuer's: by name and by signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def shown(name: x509.Name) -> str:
    """Return a distinguished name for people (RFC 4514)."""
    return name.rfc4514_string({NameOID.SERIAL_NUMBER: "serialNumber"})


def _name(certificate: x509.Certificate) -> str:
    return shown(certificate.subject)


def load_certificate(path: Path) -> x509.Certificate:
    """Return the one certificate in a PEM file.

    :raises CAFileError: if it cannot be read, or holds none or several.
    """
    certificates = load_certificates(path)
    if len(certificates) > 1:
        raise CAFileError(f"{path} holds {len(certificates)} certificates; it is for one")
    return certificates[0]


def load_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Return the certificates in a PEM file, at least one.

    :raises CAFileError: if it cannot be read or holds none.
    """
    try:
        with path.open("rb") as stream:
            return tuple(x509.load_pem_x509_certificates(stream.read(keys.MAX_FILE_BYTES)))
    except OSError as error:
        raise CAFileError(f"the certificate {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CAFileError(f"{path} holds no readable certificate in PEM form") from error


def write_key(home: Path, key: PrivateKey, issuer_id: str, password: str | None) -> Path:
    """Write an issuer's key to its place, and return its path.

    :raises FileExistsError: if there is one.
    :raises OSError: if it cannot be written.
    """
    path = home / key_file_of(issuer_id)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_new(path, keys.to_pem(key, password), 0o600)
    sync_names(path.parent)
    return path
