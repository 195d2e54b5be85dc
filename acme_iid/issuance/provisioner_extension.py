"""The certificate extension that names the provisioner, as step-ca defined it.

``SEQUENCE { type INTEGER, name OCTET STRING, credentialID OCTET STRING }`` under
1.3.6.1.4.1.37476.9000.64.1, so that ``step certificate inspect`` shows it as well. It is never critical.
"""

from __future__ import annotations

from cryptography import x509

OID = x509.ObjectIdentifier("1.3.6.1.4.1.37476.9000.64.1")
TYPES = {"GCP": 3, "AWS": 4, "AZURE": 5, "ACME": 6}
"""A provisioner's type as it stands in ca.toml, and its number in step-ca's list."""

_INTEGER, _OCTET_STRING, _SEQUENCE = 0x02, 0x04, 0x30


def extension(kind: str, name: str, credential_id: str) -> x509.UnrecognizedExtension:
    """Return the extension for a provisioner of type ``kind``; the texts are written in UTF-8.

    :param credential_id: whose instance it is: an AWS account, GCP's ``sub``, Azure's tenant.
    """
    content = (
        _tlv(_INTEGER, bytes([TYPES[kind.upper()]]))
        + _tlv(_OCTET_STRING, name.encode())
        + _tlv(_OCTET_STRING, credential_id.encode())
    )
    return x509.UnrecognizedExtension(OID, _tlv(_SEQUENCE, content))


def _tlv(tag: int, content: bytes) -> bytes:
    """Encode one DER value (X.690 section 8.1.3: short lengths below 128, then the octets of the length)."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content
