"""Options of commands about the account: agreement to the CA's terms, and an external key to make the account with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from acme_iid_client.errors import ClientError
from acme_iid_client.storage.descriptors import read_secret

_MAX_KEY_BYTES = 4096
_HMAC_KEY = re.compile(r"[A-Za-z0-9_-]{22,1024}\Z")
"""Base64url of 128 bits and more, without padding."""
_KID = re.compile(r"[\x21-\x7e]{1,256}\Z")


@dataclass(frozen=True, slots=True)
class ExternalKey:
    """An external account key (RFC 8555 section 7.3.4): its id, and the MAC key in base64url, which is secret."""

    kid: str
    hmac_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccountOptions:
    """The options of a command that are about the account.

    :ivar agree_tos: whether the CA's terms of service, as they are now, are agreed to.
    :ivar external_key: the external account key to make an account with.
    """

    agree_tos: bool = False
    external_key: ExternalKey | None = None


def read_external_key(kid: str, file: Path) -> ExternalKey:
    """An external account key with its MAC key from a file, in base64url as the CA's operator got it.

    :raises ClientError: if the file does not hold a key, or others can read it.
    :raises OSError: if the file cannot be read.
    """
    content = read_secret(file, f"The external account key in {file}")[:_MAX_KEY_BYTES]
    return parse_external_key(kid, content.decode("ascii", "replace").strip().rstrip("="), str(file))


def parse_external_key(kid: str, hmac_key: str, source: str) -> ExternalKey:
    """An external account key as its two texts have it.

    :param source: where the MAC key is from, for the message, which never has the key itself.
    :raises ClientError: if one of them has another form.
    """
    if not _KID.match(kid):
        raise ClientError(f"{kid!r} is not the id of an external account key: 'acme-iid-ca eab add' prints it.")
    if not _HMAC_KEY.match(hmac_key) or len(hmac_key) % 4 == 1:
        raise ClientError(
            f"{source} does not hold an external account key: the text in base64url that 'acme-iid-ca eab add' prints "
            "as hmac_key, and nothing else."
        )
    return ExternalKey(kid, hmac_key)
