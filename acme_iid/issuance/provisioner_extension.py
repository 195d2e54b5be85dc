"""The certificate extension that names the provisioner, as step-ca defined it.

``SEQUENCE { type INTEGER, name OCTET STRING, credentialID OCTET STRING }`` under
1.3.6.1.4.1.37476.9000.64.1, so that ``step certificate inspect`` shows it as well. It is never critical.
"""

from __future__ import annotations

from cryptography import x509

from acme_iid.attestation import asn1
from acme_iid.attestation.asn1 import tlv

OID = x509.ObjectIdentifier("1.3.6.1.4.1.37476.9000.64.1")
HOST_NUMBER = 6
"""The number of a provisioner of hosts in step-ca's list; those of clouds are in their descriptors."""


def extension(number: int, name: str, credential_id: str) -> x509.UnrecognizedExtension:
    """Return the extension for a provisioner of a type; the texts are written in UTF-8.

    :param number: the type's in step-ca's list.
    :param credential_id: the owner that it went by, such as an account.
    """
    content = (
        tlv(asn1.INTEGER, bytes([number]))
        + tlv(asn1.OCTET_STRING, name.encode())
        + tlv(asn1.OCTET_STRING, credential_id.encode())
    )
    return x509.UnrecognizedExtension(OID, tlv(asn1.SEQUENCE, content))
