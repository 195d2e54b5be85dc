"""The anchors of certificate chains: the roots pinned in the product, and those that operators give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cryptography import x509

from acme_iid.attestation import chains
from acme_iid.attestation.chains import Anchors, Root
from acme_iid.attestation.trust import GivenKeys

MAX_CERTIFICATES = 64
"""Certificates that an operator's file may hold."""


def files(provisioners: Iterable[GivenKeys], key: str) -> dict[str, bytes]:
    """The PEM files that operators give under a key of ca.toml: provisioner name -> a file's bytes."""
    return {entry.provisioner: entry.files[key] for entry in provisioners if key in entry.files}


def with_operators(pinned: Anchors, files: Mapping[str, bytes], option: str) -> Anchors:
    """The pinned anchors, and those that operators give.

    A certificate that names itself as its issuer is a root, and believed for the provisioners that it is given
    to; any other may stand between a signer and a root, and vouches for nothing.

    :param files: provisioner name -> a PEM file's bytes.
    :param option: the name of the configuration's option, for the sentence.
    :raises ValueError: with a sentence that names the provisioner, if a file holds no certificate, or something else.
    """
    scopes: dict[x509.Certificate, frozenset[str]] = {}
    intermediates: dict[x509.Certificate, None] = {}
    for provisioner, pem in files.items():
        try:
            certificates = chains.read_pem(pem.decode("ascii"), MAX_CERTIFICATES)
        except ValueError as error:
            raise ValueError(f"{option} of the provisioner {provisioner!r}: {error}") from error
        for certificate in certificates:
            if certificate.subject == certificate.issuer:
                scopes[certificate] = scopes.get(certificate, frozenset()) | {provisioner}
            else:
                intermediates[certificate] = None
    roots = (Root(certificate, scope) for certificate, scope in scopes.items())
    return Anchors((*pinned.roots, *roots), (*pinned.intermediates, *intermediates))
