"""The CA's files: ``certs/root_ca.crt``, and for each issuer ``issuers/ID/{certificate.pem,chain.pem,issuer.toml}``.

ID is the beginning of the SHA-256 of the issuer's SubjectPublicKeyInfo. ``chain.pem`` is what follows a leaf: the
issuer's own certificate and those above it, without the root. ``issuer.toml`` says where its key is. A key in a token
or behind a program that a request was made for is remembered in ``issuers/.waiting/ID.toml`` until its certificate
comes; one in a file lies in ``secrets`` from the beginning.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from acme_iid.durable import replace_file, sync_names, write_new
from acme_iid.issuance import key_places, keys
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import SHORT_ID_LENGTH, Issuer, Signer, key_id
from acme_iid.issuance.keys import CAFileError, PrivateKey
from acme_iid.issuance.roots import Roots, is_signed_by, to_pem
from acme_iid.protocol.public_keys import AUTHORITIES, PublicKey
from acme_iid.signing.keys import ForeignKey, ForeignPlace
from acme_iid.signing.places import FilePlace, Place

ROOT_CERTIFICATE = Path("certs/root_ca.crt")
ROOT_KEY = Path("secrets/root_ca_key")
"""The root's key signs further intermediates only and may be kept elsewhere."""
FOLDER = Path("issuers")
CERTIFICATE = "certificate.pem"
CHAIN = "chain.pem"
DESCRIPTION = "issuer.toml"
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


def waiting_file_of(issuer_id: str) -> Path:
    """Return where a home remembers the place of a key that waits for its certificate, if that is no file."""
    return FOLDER / ".waiting" / f"{issuer_id[:SHORT_ID_LENGTH]}.toml"


def files_of_key(key: PrivateKey, password: str | None, *, waiting: bool) -> dict[Path, tuple[bytes, int]]:
    """Return what a home keeps of an issuer's key, with the modes, by the names there.

    :param password: under which a key is stored in a file, if under one.
    :param waiting: whether it has no certificate yet.
    """
    issuer_id = key_id(key.public_key())
    if not isinstance(key, ForeignKey):
        return {key_file_of(issuer_id): (keys.to_pem(key, password), 0o600)}
    return {waiting_file_of(issuer_id): (key_places.text(key.place).encode(), 0o644)} if waiting else {}


def keep_key(home: Path, key: PrivateKey, password: str | None, *, waiting: bool) -> None:
    """Write what :func:`files_of_key` returns, durably.

    :raises FileExistsError: if there is a file with the key.
    :raises OSError: if it cannot be written.
    """
    for path, (data, mode) in files_of_key(key, password, waiting=waiting).items():
        folder = (home / path).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A key that is elsewhere can be asked for a second request.
        (replace_file if isinstance(key, ForeignKey) else write_new)(home / path, data, mode)
        sync_names(folder)


def files_of(signer: Signer, above: Sequence[x509.Certificate]) -> dict[Path, tuple[bytes, int]]:
    """Return the files of an issuer, with their modes, by their names in a home; its key is not among them."""
    issuer_id = key_id(signer.certificate.public_key())
    folder = folder_of(issuer_id)
    chain = to_pem(signer.certificate, *above).encode()
    return {
        folder / CERTIFICATE: (signer.certificate.public_bytes(Encoding.PEM), 0o644),
        folder / CHAIN: (chain, 0o644),
        folder / DESCRIPTION: (key_places.text(key_places.of_key(signer.key, key_file_of(issuer_id))).encode(), 0o644),
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
    waiting = home / waiting_file_of(key_id(signer.certificate.public_key()))
    waiting.unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or others wait
        waiting.parent.rmdir()


def replace_roots(home: Path, *roots: x509.Certificate) -> None:
    """Write the roots that clients bootstrap from, the one in use first: all of them or nothing, durably."""
    (home / ROOT_CERTIFICATE).parent.mkdir(mode=0o755, exist_ok=True)
    replace_file(home / ROOT_CERTIFICATE, to_pem(*roots).encode(), 0o644)


def load(
    home: Path, password: str | None = None, retired: Collection[str] = (), trusted: Roots | None = None
) -> CertificateAuthority:
    """Return the CA in ``home``; no root's private key is touched.

    An issuer under a root that is not trusted any more is left out, as long as there is another one.

    :param password: of the issuers' private keys, where they are encrypted.
    :param retired: the ids of issuers that the store says are retired. Their files are not read, and their keys may be
        gone. A key that is missing for any other issuer is an error.
    :param trusted: the roots that clients trust, by the store; None for those in the home.
    :raises CAFileError: if a file is missing, unreadable, or those of an issuer do not belong together.
    """
    trusted = Roots(load_roots(home), {}) if trusted is None else trusted
    issuers = [
        _load_issuer(home, folder, chain, root, password)
        for folder, chain, root in _rooted(home, trusted.certificates, retired)
    ]
    # Before any server has started, the first one that was made is the one that signs.
    return CertificateAuthority(trusted, sorted(issuers, key=lambda issuer: issuer.certificate.not_valid_before_utc))


def load_issuer(home: Path, issuer_id: str, password: str | None) -> Issuer:
    """Return one issuer in ``home``, with its key.

    :raises CAFileError: as :func:`load` does.
    """
    folder = home / folder_of(issuer_id)
    chain = load_certificates(folder / CHAIN)
    root = next((root for root in load_roots(home) if is_signed_by(chain[-1], root)), None)
    if root is None:
        raise CAFileError(f"{folder / CHAIN} leads to no root in {home / ROOT_CERTIFICATE}")
    return _load_issuer(home, folder, chain, root, password)


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

    :raises CAFileError: if a file cannot be read, or no chain leads to a root.
    """
    if not _entries(home / FOLDER):
        return ()
    return tuple((*chain, root) for _, chain, root in _rooted(home, load_roots(home)))


def key_place(home: Path, issuer_id: str) -> Place:
    """Return where the key of an issuer in ``home`` is, as its ``issuer.toml`` says; a file by its whole path.

    :raises CAFileError: if that cannot be read.
    """
    place = key_places.read(home / folder_of(issuer_id) / DESCRIPTION)
    return FilePlace(home / place.path) if isinstance(place, FilePlace) else place


def has_key(home: Path, issuer_id: str) -> bool:
    """Whether the key of an issuer in ``home`` is where its ``issuer.toml`` says, as far as can be seen from here.

    A token or a program is not asked: the key there is known by its certificate.

    :raises CAFileError: if that cannot be read.
    """
    place = key_place(home, issuer_id)
    return not isinstance(place, FilePlace) or place.path.exists()


def has_waiting_key(home: Path, certificate: x509.Certificate) -> bool:
    """Whether a certificate is for a key that a request was made with in ``home``."""
    issuer_id = key_id(certificate.public_key())
    return any((home / file).exists() for file in (key_file_of(issuer_id), waiting_file_of(issuer_id)))


def waiting_key(home: Path, public_key: PublicKey) -> Place:
    """Return where the key is that a request was made with, and which has no certificate yet.

    :raises CAFileError: if there is no such key, or there is a certificate for it already.
    """
    issuer_id = key_id(public_key)
    if (home / folder_of(issuer_id)).exists():
        raise CAFileError(f"{home / folder_of(issuer_id)} exists: this issuer was imported before")
    if (home / waiting_file_of(issuer_id)).exists():
        return key_places.read(home / waiting_file_of(issuer_id))
    if not (home / key_file_of(issuer_id)).exists():
        raise CAFileError(
            "the first certificate is for a key that this CA does not have; import the answer to a request of this "
            "home, the intermediate first and the root last"
        )
    return FilePlace(key_file_of(issuer_id))


def issuer_files(home: Path, *, waiting: bool = False) -> list[Path]:
    """Return the files of all issuers in ``home``, their keys among them as far as ``issuer.toml`` names one.

    :param waiting: whether keys that wait for a certificate are among them.
    :raises CAFileError: if the issuers cannot be listed.
    """
    files: list[Path] = []
    for folder in _entries(home / FOLDER):
        files += [folder / name for name in (CERTIFICATE, CHAIN, DESCRIPTION)]
        with suppress(CAFileError):
            if isinstance(place := key_places.read(folder / DESCRIPTION), FilePlace):
                files.append(home / place.path)
    return [*files, *((home / ROOT_KEY.parent).glob(key_file_of("*").name) if waiting else ())]


def descriptions(home: Path) -> dict[str, Path]:
    """Return the files that say where the keys of issuers are, by the beginnings of the issuers' ids.

    Those of keys that wait for a certificate are among them.

    :raises CAFileError: if the issuers cannot be listed.
    """
    waiting = {path.stem: path for path in _entries((home / waiting_file_of("")).parent)}
    return {**waiting, **{folder.name: folder / DESCRIPTION for folder in _entries(home / FOLDER)}}


def places_elsewhere(home: Path) -> dict[str, ForeignPlace]:
    """Return where the keys are that are in no file, by the beginnings of the issuers' ids.

    A file that does not say where a key is, is passed over.

    :raises CAFileError: if the issuers cannot be listed.
    """
    found: dict[str, ForeignPlace] = {}
    for name, file in descriptions(home).items():
        with suppress(CAFileError):
            if not isinstance(place := key_places.read(file), FilePlace):
                found[name] = place
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        # What begins with a dot is being written.
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CAFileError(f"the issuers in {folder} cannot be read: {error.strerror}") from error


def _rooted(
    home: Path, roots: Sequence[x509.Certificate], without: Collection[str] = ()
) -> list[tuple[Path, tuple[x509.Certificate, ...], x509.Certificate]]:
    """The folders of the issuers that lead to a root, with their chains and that root; some issuers are passed over.

    The issuers of a root that was dropped stay in the home; none of their certificates is good any more.
    """
    passed_over = {folder_of(issuer_id).name for issuer_id in without}
    folders = [folder for folder in _entries(home / FOLDER) if folder.name not in passed_over]
    if not folders:
        raise no_issuer(home)
    found = []
    for folder in folders:
        chain = load_certificates(folder / CHAIN)
        root = next((root for root in roots if is_signed_by(chain[-1], root)), None)
        if root is not None:
            found.append((folder, chain, root))
    if not found:
        raise CAFileError(f"{folders[0] / CHAIN} leads to no root in {home / ROOT_CERTIFICATE}")
    return found


def _load_issuer(
    home: Path, folder: Path, chain: Sequence[x509.Certificate], root: x509.Certificate, password: str | None
) -> Issuer:
    certificate = load_certificate(folder / CERTIFICATE)
    key = keys.open_key(home, key_places.read(folder / DESCRIPTION), certificate.public_key(), password)
    if certificate.public_key() != key.public_key():
        raise CAFileError(f"{key_place(home, folder.name)} is not the key of {folder / CERTIFICATE}")
    if chain[0] != certificate:
        raise CAFileError(f"{folder / CHAIN} does not begin with the certificate in {folder / CERTIFICATE}")
    for below, above in zip(chain, (*chain[1:], root), strict=True):
        if not is_signed_by(below, above):
            raise CAFileError(f"{folder / CHAIN} is no chain: {_name(below)} was not signed by {_name(above)}")
        _require_ca(below, folder / CHAIN)
    return Issuer(Signer(certificate, key), root, chain[1:])


def _require_ca(certificate: x509.Certificate, path: Path) -> None:
    try:
        usable = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (ValueError, x509.ExtensionNotFound):
        usable = False
    if not usable:
        raise CAFileError(f"{path} is no chain: {_name(certificate)} is no CA certificate with a key identifier")


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
