"""The keys that evidence is believed under: those pinned in the product, and those an operator adds.

AWS publishes one certificate for each region and kind of signature and has renewed certificates round
the same key, so it is the key that is pinned (keys/aws.json), and no dates are enforced.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Literal, NamedTuple, Self

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
from acme_iid.attestation.keysets import Algorithm, KeySet, KeySource, ScopedKeySet, fetched, find_keys, key_set
from acme_iid.attestation.keysets import key_id as key_id_of
from acme_iid.protocol.public_keys import AWS_DOCUMENTS

AwsKind = Literal["rsa2048", "rsa1024", "dsa"]
"""AWS's kinds of document signing keys, named after the paths and certificates that they stand behind."""

GOOGLE_KEYS = "https://www.googleapis.com/oauth2/v3/certs"
"""Where Google publishes the keys of its OpenID Connect issuer."""
ENTRA_KEYS = "https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys"
"""Where Microsoft Entra publishes a tenant's keys."""

_TENANT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class KeyReference(NamedTuple):
    """Names a trusted key, so that what was believed by it can be asked for it again later.

    :ivar place: where it is trusted: "aws", "azure", "nitro" or "gcp"; of the token's issuers that operators configure,
        the issuer's URL or the tenant's id.
    :ivar key_id: ``sha256:`` and the hex SHA-256 of its SubjectPublicKeyInfo.
    :ivar kid: its name in its key set; "" for a key that is in none.
    :ivar algorithm: what it signs with in its key set.
    """

    place: str
    key_id: str
    kid: str = ""
    algorithm: Algorithm = "RS256"


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

        :param source: where its keys are; None for where AWS publishes them below the issuer's URL.
        :raises ValueError: with a sentence, if the issuer is no URL or the source holds no usable key set.
        """
        keys = key_set(f"{issuer}/.well-known/jwks.json" if source is None else source)
        return cls(issuer, account, keys, frozenset({provisioner}))


@dataclass(frozen=True, slots=True)
class AzureTenant:
    """A Microsoft Entra tenant whose managed identities' tokens are believed, if they are for this CA.

    :ivar tenant: the tenant's id, in lower case.
    :ivar audience: the resource that tokens must be for: this CA's own, of which nobody else gets tokens.
    :ivar scope: the provisioners that an operator gave it to.
    """

    tenant: str
    audience: str
    keys: KeySet
    scope: frozenset[str] | None = None

    @classmethod
    def of(cls, provisioner: str, tenant: str, audience: str, source: KeySource | None = None) -> Self:
        """One that an operator configured.

        :param source: where its keys are; None for where Entra publishes them.
        :raises ValueError: with a sentence, if the tenant is no id, the audience empty, or the source no key set.
        """
        if not _TENANT.match(tenant):
            raise ValueError(f"{tenant[:64]!a} is not a tenant's id, a UUID in lower case")
        if not audience:
            raise ValueError(f"the tenant {tenant} is configured without an audience; give a resource of this CA's own")
        keys = key_set(ENTRA_KEYS.format(tenant=tenant) if source is None else source)
        return cls(tenant, audience, keys, frozenset({provisioner}))


@dataclass(frozen=True, slots=True)
class TrustStore:
    """All the keys that verifiers may use. It never changes: another configuration makes another one.

    :ivar aws: pinned keys first, then operators'.
    :ivar azure: where the chains of Azure's attested documents end.
    :ivar nitro: where the chains of AWS's NitroTPM documents end.
    :ivar gcp: the key sets of Google's identity tokens, Google's own first.
    :ivar web_identity: the issuers of AWS's web identity tokens; there is none before an operator names one.
    :ivar azure_tenants: the tenants whose managed identities are believed; none before an operator names one.
    """

    aws: tuple[AwsKey, ...]
    azure: Anchors = field(default_factory=Anchors)
    nitro: Anchors = field(default_factory=Anchors)
    gcp: tuple[ScopedKeySet, ...] = ()
    web_identity: tuple[WebIdentityIssuer, ...] = ()
    azure_tenants: tuple[AzureTenant, ...] = ()

    @classmethod
    def load(
        cls,
        aws_roots: Mapping[str, bytes] | None = None,
        *,
        azure_roots: Mapping[str, bytes] | None = None,
        nitro_roots: Mapping[str, bytes] | None = None,
        gcp_keys: Mapping[str, KeySource] | None = None,
        google: bool = True,
        web_identity: Sequence[WebIdentityIssuer] = (),
        azure_tenants: Sequence[AzureTenant] = (),
    ) -> Self:
        """The pinned keys, and those that operators give in ``iid_roots``.

        :param aws_roots: provisioner name -> a PEM file's bytes: CERTIFICATE and PUBLIC KEY blocks.
        :param azure_roots: the same for Azure: CERTIFICATE blocks only, roots and issuing authorities.
        :param nitro_roots: the same for NitroTPM.
        :param gcp_keys: provisioner name -> a JWK Set's bytes, or the URL that one is fetched from.
        :param google: whether Google's own keys are believed, which are fetched when they are first needed; a CA
            that cannot reach Google pins them as ``gcp_keys``.
        :param web_identity: one for each provisioner and AWS account that uses them.
        :param azure_tenants: one for each provisioner and tenant.
        :raises ValueError: with a sentence that names the provisioner, if a file holds no usable key or
            something that is none.
        """
        operators: dict[str, AwsKey] = {}
        for provisioner, pem in (aws_roots or {}).items():
            for key in _operator_keys(provisioner, pem):
                known = operators.get(key.key_id, key)
                operators[key.key_id] = replace(key, scope=(known.scope or frozenset()) | {provisioner})
        return cls(
            aws=(*pinned_aws_keys(), *operators.values()),
            azure=anchors.with_operators(anchors.pinned_azure(), azure_roots or {}, "iid_roots"),
            nitro=anchors.with_operators(anchors.pinned_nitro(), nitro_roots or {}, "nitro_roots"),
            gcp=(*([ScopedKeySet(fetched(GOOGLE_KEYS))] if google else []), *_operator_key_sets(gcp_keys or {})),
            web_identity=_checked_issuers(web_identity),
            azure_tenants=tuple(azure_tenants),
        )

    def refresh_if_due(self, now: int) -> None:
        """Fetch the key sets that are in use and about to be stale. For a thread in the background, once a minute.

        :param now: seconds.
        """
        sets = [scoped.keys for scoped in self.gcp]
        sets += [issuer.keys for issuer in self.web_identity]
        sets += [tenant.keys for tenant in self.azure_tenants]
        for keys in sets:
            keys.refresh_if_due(now)

    def aws_keys(self, kind: AwsKind, region: str) -> tuple[AwsKey, ...]:
        """The keys of one kind that may sign for ``region``, pinned ones first.

        A key that is pinned for the region as well as given by an operator appears once, pinned: what all
        provisioners believe does not become one provisioner's by being given again.
        """
        pinned = [key for key in self.aws if key.kind == kind and key.regions is not None and region in key.regions]
        ids = {key.key_id for key in pinned}
        operators = [key for key in self.aws if key.kind == kind and key.regions is None and key.key_id not in ids]
        return (*pinned, *operators)

    def still_believes(self, groups: Iterable[Iterable[KeyReference]], provisioner: str, now: int) -> bool:
        """Whether a provisioner trusts a key of each group now. No key set is waited for: one that is due is fetched.

        :param now: seconds; decides which key sets are stale.
        :raises TrustUnavailableError: if a key set is not held, or not anew, so that nobody knows.
        """
        return all(
            any(scope is None or provisioner in scope for key in group for scope in self._scopes(key, now))
            for group in groups
        )

    def _scopes(self, key: KeyReference, now: int) -> list[frozenset[str] | None]:
        """The scopes in which a key is trusted; none if it is not trusted any more."""
        if key.place == "aws":
            return [trusted.scope for trusted in self.aws if trusted.key_id == key.key_id]
        if key.place in ("azure", "nitro"):
            roots = self.azure.roots if key.place == "azure" else self.nitro.roots
            return [root.scope for root in roots if chains.key_id(root.certificate) == key.key_id]
        sets = list(self.gcp) if key.place == "gcp" else []
        sets += [ScopedKeySet(one.keys, one.scope) for one in self.web_identity if one.issuer == key.place]
        sets += [ScopedKeySet(one.keys, one.scope) for one in self.azure_tenants if one.tenant == key.place]
        same_kid = find_keys(sets, key.kid, key.algorithm, now, wait=0)
        return [trusted.scope for trusted in same_kid if key_id_of(trusted.key) == key.key_id]


def root_references(place: Literal["azure", "nitro"], roots: Iterable[Root]) -> tuple[KeyReference, ...]:
    """The references to the roots that a chain leads to, any of which is enough."""
    return tuple(KeyReference(place, chains.key_id(root.certificate)) for root in roots)


def believed_by_both(first: frozenset[str] | None, second: frozenset[str] | None) -> frozenset[str] | None:
    """The scope of evidence that takes two keys: the provisioners that believe both of them; None for all."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


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


def _operator_key_sets(sources: Mapping[str, KeySource]) -> Iterator[ScopedKeySet]:
    for provisioner, source in sources.items():
        try:
            yield ScopedKeySet(key_set(source), frozenset({provisioner}))
        except ValueError as error:
            raise ValueError(f"the key set of the provisioner {provisioner!r}: {error}") from error


def _checked_issuers(issuers: Sequence[WebIdentityIssuer]) -> tuple[WebIdentityIssuer, ...]:
    accounts: dict[str, str] = {}
    for issuer in issuers:
        if accounts.setdefault(issuer.issuer, issuer.account) != issuer.account:
            raise ValueError(f"the issuer {issuer.issuer} is configured for two accounts; it is only one account's")
    return tuple(issuers)


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
    if (refusal := AWS_DOCUMENTS.refusal(key)) is not None:
        raise ValueError(f"a key signs no AWS document: {refusal}")
    assert isinstance(key, RSAPublicKey | DSAPublicKey)  # no other kind is accepted
    kind: AwsKind = "dsa"
    if isinstance(key, RSAPublicKey):
        kind = "rsa2048" if key.key_size >= 2048 else "rsa1024"
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return AwsKey(kind, key, "sha256:" + hashlib.sha256(spki).hexdigest())
