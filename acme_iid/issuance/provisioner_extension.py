"""The certificate extension that names the provisioner, as step-ca defined it.

``SEQUENCE { type INTEGER, name OCTET STRING, credentialID OCTET STRING }`` under
1.3.6.1.4.1.37476.9000.64.1, so that ``step certificate inspect`` shows it as well. It is never critical.
"""

from __future__ import annotations

from cryptography import x509

from acme_iid.attestation import asn1
from acme_iid.attestation.asn1 import tlv

OID = x509.ObjectIdentifier("1.3.6.1.4.1.37476.9000.64.1")
TYPES = {"GCP": 3, "AWS": 4, "AZURE": 5, "ACME": 6}
"""A provisioner's type as it stands in ca.toml, and its number in step-ca's list."""


def extension(kind: str, name: str, credential_id: str) -> x509.UnrecognizedExtension:
    """Return the extension for a provisioner of type ``kind``; the texts are written in UTF-8.

    :param credential_id: whose instance it is: an AWS account, GCP's ``sub``, Azure's tenant.
    """
    content = (
        tlv(asn1.INTEGER, bytes([TYPES[kind.upper()]]))
        + tlv(asn1.OCTET_STRING, name.encode())
        + tlv(asn1.OCTET_STRING, credential_id.encode())
    )
    return x509.UnrecognizedExtension(OID, tlv(asn1.SEQUENCE, content))
