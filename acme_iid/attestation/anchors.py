"""Where certificate chains end: the roots pinned in the product, and those that operators give."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

from cryptography import x509

from acme_iid.attestation import chains
from acme_iid.attestation.chains import Anchors, Root

MAX_GIVEN = 64
"""Certificates that an operator's file may hold."""

_KEYS = resources.files("acme_iid.attestation.keys")


@cache
def pinned_azure() -> Anchors:
    """The roots and issuing authorities behind Azure's attested documents (keys/azure.json)."""
    listed = json.loads(_KEYS.joinpath("azure.json").read_bytes())
    return Anchors(
        tuple(Root(_from_der(entry["der"])) for entry in listed["roots"]),
        tuple(_from_der(entry["der"]) for entry in listed["intermediates"]),
    )


@cache
def pinned_nitro() -> Anchors:
    """The root of the AWS Nitro Attestation PKI (keys/aws_nitro_root.pem); documents bring the rest."""
    return Anchors(tuple(map(Root, chains.read_pem(_KEYS.joinpath("aws_nitro_root.pem").read_text("ascii")))))


def with_operators(pinned: Anchors, given: Mapping[str, bytes], option: str) -> Anchors:
    """``pinned``, and what operators give.

    A certificate that names itself as its issuer is a root, believed for the provisioners that it is given to;
    any other may stand between a signer and a root, and vouches for nothing.

    :param given: provisioner name -> a PEM file's bytes.
    :param option: the name of the configuration's option, for the sentence.
    :raises ValueError: with a sentence that names the provisioner, if a file holds something else or no certificate.
    """
    scopes: dict[x509.Certificate, frozenset[str]] = {}
    intermediates: dict[x509.Certificate, None] = {}
    for provisioner, pem in given.items():
        try:
            certificates = chains.read_pem(pem.decode("ascii"), MAX_GIVEN)
        except ValueError as error:
            raise ValueError(f"{option} of the provisioner {provisioner!r}: {error}") from error
        for certificate in certificates:
            if certificate.subject == certificate.issuer:
                scopes[certificate] = scopes.get(certificate, frozenset()) | {provisioner}
            else:
                intermediates[certificate] = None
    roots = (Root(certificate, scope) for certificate, scope in scopes.items())
    return Anchors((*pinned.roots, *roots), (*pinned.intermediates, *intermediates))


def _from_der(text: str) -> x509.Certificate:
    return chains.read(base64.b64decode(text, validate=True))
