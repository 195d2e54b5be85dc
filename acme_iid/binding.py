"""What ties evidence to one challenge and one account key, and the bounds of an answer (rfc-notes/iid-01.md).

Apart from :mod:`acme_iid.iid01`, so that the server needs nothing of the acme library and what that brings.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

CHALLENGE_TYPE = "iid-01"
AUDIENCE_PREFIX = "acme-iid-01:"
EVIDENCE_FIELDS = ("evidence", "document", "signature", "rsa2048", "attested", "intermediates")
"""The members of an answer that hold evidence, whatever its format."""
MAX_ANSWER_BYTES = 64 * 1024
"""The size an answer's payload may have, in octets."""
SERVING_MARK = "1.3.6.1.5.5.7.3.28"
"""The extended key usage that marks the serving certificate of a CA, and that no other certificate of a CA may carry.

It is id-kp-cmcRA (RFC 6402 section 2.10), as EST uses it (RFC 7030 section 3.6.1): who has it speaks for the CA.
"""


@dataclass(frozen=True, slots=True)
class Binding:
    """What evidence is bound to: one challenge and one account key.

    ``digest`` is K, the SHA-256 of the key authorization's ASCII bytes (32 octets). ``public_key`` is the
    account key's SubjectPublicKeyInfo in DER, which evidence that names a key must name; left empty, no such
    evidence is accepted.
    """

    digest: bytes
    public_key: bytes = b""

    @property
    def audience(self) -> str:
        """The audience that token formats carry: ``acme-iid-01:`` and base64url(K), unpadded."""
        return AUDIENCE_PREFIX + base64.urlsafe_b64encode(self.digest).rstrip(b"=").decode()

    @property
    def nonce(self) -> str:
        """The nonce that Azure's documents carry: lower-case base32 of K's first 20 octets, 32 characters."""
        return base64.b32encode(self.digest[:20]).decode().lower()


def binding(key_authorization: str, public_key: bytes = b"") -> Binding:
    """The binding for a key authorization: token, a dot, the account key's thumbprint (RFC 8555 section 8.1).

    :param public_key: the account key's SubjectPublicKeyInfo in DER.
    """
    return Binding(hashlib.sha256(key_authorization.encode("ascii")).digest(), public_key)
