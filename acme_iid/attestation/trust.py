"""The keys that evidence is believed under: those pinned in the product, and those an operator adds.

AWS publishes one certificate for each region and kind of signature and has renewed certificates round
the same key, so it is the key that is pinned (keys/aws.json), and no dates are enforced.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Literal, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

AwsKind = Literal["rsa2048", "rsa1024", "dsa"]
"""AWS's kinds of document signing keys, named after the paths and certificates that they stand behind."""

MIN_RSA_BITS = 1024
"""AWS's own ``signature`` keys are this short; anything shorter is nobody's."""

_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AwsKey:
    """A public key under which AWS documents are believed.

    :ivar key_id: ``sha256:`` and the hex SHA-256 of its SubjectPublicKeyInfo.
    :ivar regions: the regions that it signs for; None for an operator's key, which may sign for any.
    :ivar scope: the provisioners that an operator gave it to; None for a pinned key, which all believe.
    """

    kind: AwsKind
    key: RSAPublicKey | DSAPublicKey
    key_id: str
    regions: frozenset[str] | None = None
    scope: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class TrustStore:
    """All the keys that verifiers may use. It never changes: another configuration makes another one.

    :ivar aws: pinned keys first, then operators'.
    """

    aws: tuple[AwsKey, ...]

    @classmethod
    def load(cls, aws_roots: Mapping[str, bytes] | None = None) -> Self:
        """The pinned keys, and those that operators give in ``iid_roots``.

        :param aws_roots: provisioner name -> a PEM file's bytes: CERTIFICATE and PUBLIC KEY blocks.
        :raises ValueError: with a sentence that names the provisioner, if a file holds no usable key or
            something that is none.
        """
        operators: dict[str, AwsKey] = {}
        for provisioner, pem in (aws_roots or {}).items():
            for key in _operator_keys(provisioner, pem):
                known = operators.get(key.key_id, key)
                operators[key.key_id] = replace(key, scope=(known.scope or frozenset()) | {provisioner})
        return cls((*pinned_aws_keys(), *operators.values()))

    def aws_keys(self, kind: AwsKind, region: str) -> tuple[AwsKey, ...]:
        """The keys of one kind that may sign for ``region``, pinned ones first.

        A key that is pinned for the region as well as given by an operator appears once, pinned: what all
        provisioners believe does not become one provisioner's by being given again.
        """
        pinned = [key for key in self.aws if key.kind == kind and key.regions is not None and region in key.regions]
        ids = {key.key_id for key in pinned}
        operators = [key for key in self.aws if key.kind == kind and key.regions is None and key.key_id not in ids]
        return (*pinned, *operators)


@cache
def pinned_aws_keys() -> tuple[AwsKey, ...]:
    """AWS's own keys, as the product carries them (keys/aws.json), read when first needed."""
    listed = json.loads(resources.files("acme_iid.attestation.keys").joinpath("aws.json").read_bytes())
    return tuple(
        replace(
            _aws_key(load_der_public_key(base64.b64decode(entry["spki"]))),
            kind=entry["kind"],
            regions=frozenset(entry["regions"]),
        )
        for entry in listed["keys"]
    )


def _operator_keys(provisioner: str, pem: bytes) -> Iterator[AwsKey]:
    found = False
    for match in _PEM_BLOCK.finditer(pem):
        found = True
        try:
            yield _aws_key(_public_key(match.group(1), match.group()))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError(f"iid_roots of the provisioner {provisioner!r}: {error}") from error
    if not found:
        raise ValueError(
            f"iid_roots of the provisioner {provisioner!r} hold no key; give a PEM file with CERTIFICATE "
            "or PUBLIC KEY blocks"
        )


def _public_key(label: bytes, block: bytes) -> object:
    if label == b"CERTIFICATE":
        return x509.load_pem_x509_certificate(block).public_key()
    if label == b"PUBLIC KEY":
        return load_pem_public_key(block)
    raise ValueError(f"a block is a {label.decode()}, but only CERTIFICATE and PUBLIC KEY blocks belong there")


def _aws_key(key: object) -> AwsKey:
    """The key with the kind that its algorithm and length make it.

    :raises ValueError: for a key that signs no AWS document.
    """
    kind: AwsKind
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        kind = "rsa2048" if key.key_size >= 2048 else "rsa1024"
    elif isinstance(key, DSAPublicKey):
        kind = "dsa"
    else:
        raise ValueError(f"a key is neither RSA of {MIN_RSA_BITS} bits or more nor DSA, as AWS's are")
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return AwsKey(kind, key, "sha256:" + hashlib.sha256(spki).hexdigest())
