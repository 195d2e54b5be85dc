"""Words for a file that should hold a private key in PEM form, and does not.

The server and the client read keys from files that people name. A key that is encrypted, in DER, or in OpenSSH's form
is a key nevertheless, and a certificate in its place is a mistake of another kind.
"""

from __future__ import annotations

import re
import shlex

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
)
from cryptography.x509 import load_der_x509_certificate, load_der_x509_csr

_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_KEY_LABELS = frozenset({"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "DSA PRIVATE KEY"})
_ENCRYPTED = "an encrypted private key, and this program asks for no password"
_REFUSED = (ValueError, TypeError, OverflowError, UnsupportedAlgorithm)
_SEQUENCE = 0x30


def is_encrypted(content: bytes) -> bool:
    """Whether a file holds a private key in PEM form that is encrypted."""
    return "ENCRYPTED PRIVATE KEY" in _labels(content) or (_has_key(content) and b"Proc-Type: 4,ENCRYPTED" in content)


def describe(content: bytes, label: str) -> str:
    """The contents of a file that is read for a private key, as the object of a sentence, with a command to convert it.

    :param content: of a file that is not an unencrypted private key in PEM form, or holds one of an unknown kind.
    :param label: the file's name, for the command.
    """
    file = shlex.quote(label)
    labels = _labels(content)
    if is_encrypted(content):
        return f"{_ENCRYPTED}: openssl pkey -in {file} writes it without one"
    if _has_key(content):
        return "a private key that cannot be read; it is damaged or of an unknown kind"
    if "OPENSSH PRIVATE KEY" in labels:
        return f"a private key in OpenSSH's form: ssh-keygen -p -m PKCS8 -f {file} changes it to PEM"
    if labels:
        return f"no private key but a {labels[0].lower()}"
    return _describe_der(content, file)


def holds_key(content: bytes) -> bool:
    """Whether a file holds a private key in any form, where something else is read."""
    return _has_key(content) or "OPENSSH PRIVATE KEY" in _labels(content) or _is_der_key(content) is not None


def _describe_der(content: bytes, file: str) -> str:
    encrypted = _is_der_key(content)
    if encrypted is not None:
        what = "an encrypted private key" if encrypted else "a private key"
        return f"{what} in DER form, not PEM: openssl pkey -inform DER -in {file} writes it as PEM"
    if content[:1] == bytes([_SEQUENCE]):
        if _reads(load_der_x509_certificate, content):
            return "no private key but a certificate, in DER form"
        if _reads(load_der_x509_csr, content):
            return "no private key but a certificate request, in DER form"
        if _reads(load_der_public_key, content):
            return "no private key but a public key, in DER form"
        if _first_number(content) == 3:
            return f"a PKCS #12 file: openssl pkcs12 -nocerts -noenc -in {file} writes its private key as PEM"
    return "no private key in PEM form"


def _labels(content: bytes) -> list[str]:
    return [label.decode("ascii") for label in _LABEL.findall(content) if label != b"EC PARAMETERS"]


def _has_key(content: bytes) -> bool:
    return any(label in _KEY_LABELS or label == "ENCRYPTED PRIVATE KEY" for label in _labels(content))


def _is_der_key(content: bytes) -> bool | None:
    """Whether a private key in DER form is encrypted; None if the content is not a key in that form."""
    if content[:1] != bytes([_SEQUENCE]):
        return None
    try:
        load_der_private_key(content, None)
    except TypeError:
        return True
    except _REFUSED:
        return None
    return False


def _reads(load: object, content: bytes) -> bool:
    assert callable(load)
    try:
        load(content)
    except _REFUSED:
        return False
    return True


def _first_number(content: bytes) -> int | None:
    """The integer of one octet that a DER sequence begins with."""
    start = 2 + (content[1] & 0x7F if len(content) > 1 and content[1] & 0x80 else 0)
    return content[start + 2] if content[start : start + 2] == b"\x02\x01" and len(content) > start + 2 else None
