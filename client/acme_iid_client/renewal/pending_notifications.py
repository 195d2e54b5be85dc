"""Pending notifications: which programs have not been told yet that a certificate was renewed.

A notification is kept on the disk before the new certificate is put in place, and removed once the command and the
signal succeeded. So it survives whatever ends the program in between, and the next one that looks after the pair sends
it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from cryptography import x509

from acme_iid_client.storage import directories, records
from acme_iid_client.x509.certificates import fingerprint


def keep(state: Path, certificate: Path, before: x509.Certificate | None) -> None:
    """Keep that programs are to be told of the certificate that is about to be put in place.

    :param certificate: its file.
    :param before: the certificate in the file until then; None if there is no certificate yet.
    :raises OSError: if it cannot be written.
    """
    content = {"certificate": str(certificate.absolute()), "before": before and fingerprint(before)}
    directories.make_directory(_directory(state))
    directories.write_file(_file(state, certificate), json.dumps(content, indent=2).encode() + b"\n")


def pending(state: Path, certificate: Path, leaf: x509.Certificate) -> bool:
    """Whether programs are still to be told of a certificate.

    :param certificate: its file.
    :param leaf: the certificate in the file; if it is still the one from before, nothing was put in place.
    """
    try:
        content = json.loads(_file(state, certificate).read_bytes())
        return bool(content["before"] != fingerprint(leaf))
    except OSError:
        return False
    except (ValueError, KeyError, TypeError):
        # Once too often is better than never.
        return True


def remove(state: Path, certificate: Path) -> None:
    """Everybody has been told."""
    with contextlib.suppress(OSError):
        _file(state, certificate).unlink(missing_ok=True)


def _directory(state: Path) -> Path:
    return state / "notifications"


def _file(state: Path, certificate: Path) -> Path:
    return records.file_of(_directory(state), certificate)
