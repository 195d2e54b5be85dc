"""Records of what was ordered on this machine: enough to renew it, and nothing secret."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from acme_iid_client.errors import ClientError, sentence
from acme_iid_client.storage import directories
from acme_iid_client.storage.bundles import Bundles

COMMAND_SECONDS = 60.0
"""The seconds that a command may take unless more or fewer were asked for."""


@dataclass(frozen=True, slots=True)
class Record:
    """A pair, and how it was ordered.

    :ivar certificate: the certificate's file, absolute.
    :ivar key: the key's.
    :ivar ca_url: the CA it came from.
    :ivar root: that CA's root certificate, if it is not the one of the bootstrap.
    :ivar metadata_url: the address of the metadata service, if another than the usual one was given.
    :ivar token_resource: the resource for which managed identity tokens are asked, if it was given.
    :ivar life: the validity that is asked for, a duration like ``8h``; None leaves it to the CA.
    :ivar bundles: further files with the same content.
    :ivar account_key: the file of the account key that signs, if a person keeps it.
    :ivar profile: the certificate profile that is asked for; None leaves it to the CA.
    :ivar command: the command that is run when this certificate is new, as it was typed; None for none.
    :ivar command_seconds: the seconds that it may take.
    """

    certificate: Path
    key: Path
    ca_url: str | None = None
    root: Path | None = None
    metadata_url: str | None = None
    token_resource: str | None = None
    life: str | None = None
    bundles: Bundles = field(default_factory=Bundles)
    account_key: Path | None = None
    profile: str | None = None
    command: str | None = None
    command_seconds: float = COMMAND_SECONDS


def directory(state: Path) -> Path:
    """The directory of the records."""
    return state / "certificates"


def save(state: Path, record: Record) -> None:
    """Keep a record; one of the same certificate file is replaced."""
    directories.make_directory(directory(state))
    bundles = record.bundles
    content = {
        "certificate": str(record.certificate),
        "key": str(record.key),
        "ca_url": record.ca_url,
        "root": _text(record.root),
        "metadata_url": record.metadata_url,
        "azure_resource": record.token_resource,
        "account_key": _text(record.account_key),
        "life": record.life,
        "profile": record.profile,
        "bundle": _text(bundles.bundle),
        "p12": _text(bundles.p12),
        "p12_password_file": _text(bundles.password_file),
        "exec": record.command,
        "exec_timeout": None if record.command is None else record.command_seconds,
    }
    present = {name: value for name, value in content.items() if value is not None}
    directories.write_file(_file(state, record.certificate), json.dumps(present, indent=2).encode() + b"\n")


def find(state: Path, certificate: Path) -> Record | None:
    """The record of a certificate file, if it was ordered on this machine.

    :raises ClientError: if it cannot be read.
    """
    return _load(_file(state, certificate))


def all_of(state: Path, complain: Callable[[str], None]) -> list[Record]:
    """The records of this machine, in the order of the files' names.

    :param complain: called with a sentence about each record that cannot be read; the others count nevertheless.
    :raises OSError: if their directory cannot be read.
    """
    known = []
    try:
        files = list(directory(state).iterdir())
    except FileNotFoundError:
        return []
    for file in files:
        if file.suffix != ".json" or file.name.startswith("."):
            continue
        try:
            record = _load(file)
        except (ClientError, OSError) as error:
            complain(sentence(error))
        else:
            known += [] if record is None else [record]
    return sorted(known, key=lambda record: record.certificate)


def file_of(folder: Path, certificate: Path) -> Path:
    """The file in a folder of the state that is about one certificate's file."""
    name = hashlib.sha256(bytes(certificate.absolute())).hexdigest()[:32]
    return folder / f"{name}.json"


def _file(state: Path, certificate: Path) -> Path:
    return file_of(directory(state), certificate)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _texts(content: dict[str, object]) -> dict[str, str]:
    texts = {name: str(value) for name, value in content.items()}
    if any("\0" in text for text in texts.values()):
        raise ValueError("no path has a zero character")
    return texts


def _load(file: Path) -> Record | None:
    try:
        content = json.loads(file.read_bytes())
        texts = _texts(content)
        paths = {
            name: Path(texts[name])
            for name in ("certificate", "key", "root", "account_key", "bundle", "p12", "p12_password_file")
            if name in texts
        }
        return Record(
            paths["certificate"],
            paths["key"],
            texts.get("ca_url"),
            paths.get("root"),
            texts.get("metadata_url"),
            texts.get("azure_resource"),
            texts.get("life"),
            Bundles(paths.get("bundle"), paths.get("p12"), paths.get("p12_password_file")),
            paths.get("account_key"),
            texts.get("profile"),
            texts.get("exec"),
            float(texts.get("exec_timeout", COMMAND_SECONDS)),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError) as error:
        raise ClientError(
            f"{file} cannot be read. Remove it, and order its certificate again with 'acme-iid order'."
        ) from error
