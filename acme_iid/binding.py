"""Ties evidence to one challenge and one account key, and bounds an answer (rfc-notes/iid-01.md).

Apart from :mod:`acme_iid.iid01`, so that the server needs nothing of the acme library and what that brings.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

CHALLENGE_TYPE = "iid-01"
AUDIENCE_PREFIX = "acme-iid-01:"
EVIDENCE_FIELDS = ("evidence", "document", "signature", "rsa2048", "attested", "intermediates")
"""The members of an answer that hold evidence, whatever its format."""
MAX_ANSWER_BYTES = 64 * 1024
"""The size an answer's payload may have, in octets."""
CLOCK_SKEW = 60
"""Seconds by which the clock of a cloud, a client or another process may be ahead of ours or behind it.

It is the minute of rfc-notes/iid-01.md, section 13.2 ("Clocks") and section 17.
"""
SERVING_MARK = "1.3.6.1.5.5.7.3.28"
"""The extended key usage that marks the serving certificate of a CA, and that no other certificate of a CA may carry.

It is id-kp-cmcRA (RFC 6402 section 2.10), as EST uses it (RFC 7030 section 3.6.1): its holder speaks for the CA.
"""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_PADDING = (b"", b"", b"==", b"=")
_LAST = ("", "", "AQgw", "AEIMQUYcgkosw048")


def base64url(octets: bytes) -> str:
    """Octets in base64url without padding, as everywhere in ACME (RFC 8555 section 6.1)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The octets in base64url without padding or junk, in its one canonical spelling (RFC 7515 section 2).

    :raises ValueError: with the fault, as the rest of a sentence.
    """
    if not _BASE64URL.match(text):
        raise ValueError("is not base64url without padding")
    over = len(text) % 4
    if over == 1:
        raise ValueError("is not base64url")
    # The last of two characters over has four bits that belong to no octet, the last of three has two.
    if over and text[-1] not in _LAST[over]:
        raise ValueError("is base64url with stray bits at its end")
    return binascii.a2b_base64(text.encode("ascii").translate(_STANDARD) + _PADDING[over])


@dataclass(frozen=True, slots=True)
class Binding:
    """One challenge and one account key, to which evidence is bound.

    ``digest`` is K, the SHA-256 of the key authorization's ASCII bytes (32 octets). ``public_key`` is the
    account key's SubjectPublicKeyInfo in DER: evidence that names a key must name this one. Left empty, no such
    evidence is accepted.
    """

    digest: bytes
    public_key: bytes = b""

    @property
    def audience(self) -> str:
        """The audience that token formats carry: ``acme-iid-01:`` and base64url(K), unpadded."""
        return AUDIENCE_PREFIX + base64url(self.digest)

    @property
    def nonce(self) -> str:
        """The nonce that Azure's documents carry: lower-case base32 of K's first 20 octets, 32 characters."""
        return base64.b32encode(self.digest[:20]).decode().lower()


def binding(key_authorization: str, public_key: bytes = b"") -> Binding:
    """The binding for a key authorization: token, a dot, the account key's thumbprint (RFC 8555 section 8.1).

    :param public_key: the account key's SubjectPublicKeyInfo in DER.
    """
    return Binding(hashlib.sha256(key_authorization.encode("ascii")).digest(), public_key)
