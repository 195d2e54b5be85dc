"""The keys of AWS's evidence: of its documents, of NitroTPM documents, and of web identity tokens.

AWS publishes one certificate for each region and kind of signature and has renewed certificates round
the same key, so it is the key that is pinned (keys/aws.json), and no dates are enforced.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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

from acme_iid.attestation import anchors, chains
from acme_iid.attestation.chains import Anchors, Root
from acme_iid.attestation.keysets import KeySet, KeySource, ScopedKeySet, key_set, published
from acme_iid.attestation.trust import GivenKeys, KeyReference, Scope, scopes_of_root, scopes_of_token_key
from acme_iid.protocol.public_keys import KeyPolicy

DOCUMENT_KEYS = KeyPolicy(("RSA", "DSA"), (1024, 8192))
"""Keys under which AWS's documents are believed: its own are as short as that, and DSA signs the format aws-pkcs7."""
DOCUMENTS = "aws"
"""The place of the keys that sign documents."""
NITRO = "nitro"
"""The place of the roots of NitroTPM documents."""

AwsKind = Literal["rsa2048", "rsa1024", "dsa"]
"""AWS's kinds of document signing keys, named after the paths and certificates that they stand behind."""

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
class WebIdentityIssuer:
    """An AWS account's own issuer of web identity tokens, and the account: known together or not at all.

    :ivar issuer: ``https://<uuid>.tokens.sts.global.api.aws``, exactly as the account's tokens have it.
    :ivar account: the account's number; tokens that name another one are refused.
    :ivar scope: the provisioners that an operator gave it to.
    """

    issuer: str
    account: str
    keys: KeySet
    scope: frozenset[str] | None = None

    @classmethod
    def of(cls, provisioner: str, issuer: str, account: str, source: KeySource | None = None) -> Self:
        """One that an operator configured.

        :param source: the source of its keys; None for the place below the issuer's URL at which AWS publishes them.
        :raises ValueError: with a sentence, if the issuer is not a URL or the source holds no usable key set.
        """
        keys = key_set(published(issuer) if source is None else source)
        return cls(issuer, account, keys, frozenset({provisioner}))


@dataclass(frozen=True, slots=True)
class AwsTrust:
    """The keys of AWS's evidence.

    :ivar keys: of documents, pinned keys first, then operators'.
    :ivar nitro: the anchors of the chains of NitroTPM documents.
    :ivar web_identity: the issuers of web identity tokens that operators name; empty until one does.
    """

    keys: tuple[AwsKey, ...]
    nitro: Anchors = field(default_factory=Anchors)
    web_identity: tuple[WebIdentityIssuer, ...] = ()

    @classmethod
    def load(cls, provisioners: Sequence[GivenKeys] = ()) -> Self:
        """The pinned keys, and those that operators give.

        :param provisioners: the keys that each one's operator gives: ``iid_roots``, a PEM file of CERTIFICATE and
            PUBLIC KEY blocks; ``nitro_roots``, one of CERTIFICATE blocks; and issuers of web identity tokens.
        :raises ValueError: with a sentence that names the provisioner, if a file holds no usable key, or
            something that is not a key.
        """
        operators: dict[str, AwsKey] = {}
        for entry in provisioners:
            for key in _operator_keys(entry.provisioner, entry.files.get("iid_roots")):
                earlier = operators.get(key.key_id, key)
                operators[key.key_id] = replace(key, scope=(earlier.scope or frozenset()) | {entry.provisioner})
        issuers = [
            WebIdentityIssuer.of(entry.provisioner, issuer.issuer, issuer.account, issuer.keys)
            for entry in provisioners
            for issuer in entry.issuers
        ]
        return cls(
            keys=(*pinned_keys(), *operators.values()),
            nitro=anchors.with_operators(pinned_nitro(), anchors.files(provisioners, "nitro_roots"), "nitro_roots"),
            web_identity=_checked_issuers(issuers),
        )

    def key_sets(self) -> Iterable[KeySet]:
        """Those of web identity tokens."""
        return [issuer.keys for issuer in self.web_identity]

    def scopes(self, key: KeyReference, now: int) -> list[Scope] | None:
        """The scopes in which a key is trusted now; None if the key is not one of AWS's."""
        if key.place == DOCUMENTS:
            return [trusted.scope for trusted in self.keys if trusted.key_id == key.key_id]
        if key.place == NITRO:
            return scopes_of_root(self.nitro.roots, key)
        sets = [ScopedKeySet(one.keys, one.scope) for one in self.web_identity if one.issuer == key.place]
        return scopes_of_token_key(sets, key, now) if sets else None

    def keys_for(self, kind: AwsKind, region: str) -> tuple[AwsKey, ...]:
        """The keys of one kind that may sign for ``region``, pinned ones first.

        A key that is pinned for the region as well as given by an operator appears once, pinned: all
        provisioners go on believing it.
        """
        pinned = [key for key in self.keys if key.kind == kind and key.regions is not None and region in key.regions]
        ids = {key.key_id for key in pinned}
        operators = [key for key in self.keys if key.kind == kind and key.regions is None and key.key_id not in ids]
        return (*pinned, *operators)


@cache
def pinned_keys() -> tuple[AwsKey, ...]:
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


@cache
def pinned_nitro() -> Anchors:
    """The root of the AWS Nitro Attestation PKI (keys/aws_nitro_root.pem); documents bring the rest."""
    pem = resources.files("acme_iid.attestation.keys").joinpath("aws_nitro_root.pem").read_text("ascii")
    return Anchors(tuple(map(Root, chains.read_pem(pem))))


def _checked_issuers(issuers: Sequence[WebIdentityIssuer]) -> tuple[WebIdentityIssuer, ...]:
    accounts: dict[str, str] = {}
    for issuer in issuers:
        if accounts.setdefault(issuer.issuer, issuer.account) != issuer.account:
            raise ValueError(f"the issuer {issuer.issuer} is configured for two accounts; it is only one account's")
    return tuple(issuers)


def _operator_keys(provisioner: str, pem: bytes | None) -> Iterator[AwsKey]:
    if pem is None:
        return
    blocks = list(_PEM_BLOCK.finditer(pem))
    if not blocks:
        raise ValueError(
            f"iid_roots of the provisioner {provisioner!r} hold no key; give a PEM file with CERTIFICATE "
            "or PUBLIC KEY blocks"
        )
    for match in blocks:
        try:
            yield _aws_key(_public_key(match.group(1), match.group()))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError(f"iid_roots of the provisioner {provisioner!r}: {error}") from error


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
    if (refusal := DOCUMENT_KEYS.refusal(key)) is not None:
        raise ValueError(f"a key signs no AWS document: {refusal}")
    assert isinstance(key, RSAPublicKey | DSAPublicKey)  # no other kind is accepted
    kind: AwsKind = "dsa"
    if isinstance(key, RSAPublicKey):
        kind = "rsa2048" if key.key_size >= 2048 else "rsa1024"
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return AwsKey(kind, key, "sha256:" + hashlib.sha256(spki).hexdigest())
