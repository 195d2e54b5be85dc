"""A signing request that somebody else made, with a key that stays with them."""

from __future__ import annotations

import shlex
import warnings

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from acme_iid.protocol import key_files
from acme_iid_client.errors import ClientError
from acme_iid_client.x509.names import canonical

# The library warns of an empty common name, on the terminal.
warnings.filterwarnings("ignore", message="Attribute's length must be", category=UserWarning)


def load(content: bytes, label: str) -> x509.CertificateSigningRequest:
    """The request in a PEM or DER file.

    :param label: the name of the file in error messages.
    :raises ClientError: if it holds none, or its signature is not by its key.
    """
    try:
        pem = b"-----BEGIN" in content
        request = x509.load_pem_x509_csr(content) if pem else x509.load_der_x509_csr(content)
        signed = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if key_files.holds_key(content):
            raise ClientError(
                f"{label} holds a private key, not a certificate signing request. "
                f"'openssl req -new -key {shlex.quote(label)}' makes one."
            ) from error
        raise ClientError(f"{label} holds no certificate signing request, neither PEM nor DER.") from error
    if not signed:
        raise ClientError(f"The request in {label} is not signed by the key in it.")
    return request


def names(request: x509.CertificateSigningRequest, label: str) -> list[str]:
    """The names that a request asks for, canonical: the common name first, for an order has all of them.

    :param label: the name of the file in error messages.
    :raises ClientError: if there are no names, or some that a certificate of this CA cannot hold.
    """
    common = [str(attribute.value) for attribute in request.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    # OpenSSL writes an empty one where a person was asked for a name and gave none.
    texts = [text for text in common if text.strip(" ")]
    try:
        alternatives = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        alternatives = []
    except ValueError as error:
        raise ClientError(f"The extensions of the request in {label} cannot be read.") from error
    for name in alternatives:
        if not isinstance(name, x509.DNSName | x509.IPAddress):
            raise ClientError(f"The request in {label} asks for {name!r}; only names and addresses are issued.")
        texts.append(str(name.value))
    listed = list(dict.fromkeys(canonical(name) for name in texts))
    if not listed:
        raise ClientError(f"The request in {label} names nothing: it has neither alternative names nor a common name.")
    return listed
