"""The keys of Azure's evidence: the roots of attested documents, and those of tenants' tokens."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Self

from acme_iid.attestation import anchors, chains
from acme_iid.attestation.chains import Anchors, Root
from acme_iid.attestation.keysets import KeySet, KeySource, ScopedKeySet, key_set
from acme_iid.attestation.trust import GivenKeys, KeyReference, Scope, scopes_of_root, scopes_of_token_key

ENTRA_KEYS = "https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys"
"""The URL at which Microsoft Entra publishes a tenant's keys."""
ROOTS = "azure"
"""The place of the roots of attested documents."""
_TENANT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@dataclass(frozen=True, slots=True)
class AzureTenant:
    """A Microsoft Entra tenant whose managed identities' tokens are believed, if they are for this CA.

    :ivar tenant: the tenant's id, in lower case.
    :ivar audience: the resource that tokens must be for: this CA's own, for which no other service gets tokens.
    :ivar scope: the provisioners that an operator gave it to.
    """

    tenant: str
    audience: str
    keys: KeySet
    scope: frozenset[str] | None = None

    @classmethod
    def of(cls, provisioner: str, tenant: str, audience: str, source: KeySource | None = None) -> Self:
        """One that an operator configured.

        :param source: the source of its keys; None for the URL at which Entra publishes them.
        :raises ValueError: with a sentence, if the tenant is not an id, the audience empty, or the key set unusable.
        """
        if not _TENANT.match(tenant):
            raise ValueError(f"{tenant[:64]!a} is not a tenant's id, a UUID in lower case")
        if not audience:
            raise ValueError(f"the tenant {tenant} is configured without an audience; give a resource of this CA's own")
        keys = key_set(ENTRA_KEYS.format(tenant=tenant) if source is None else source)
        return cls(tenant, audience, keys, frozenset({provisioner}))


@dataclass(frozen=True, slots=True)
class AzureTrust:
    """The keys of Azure's evidence.

    :ivar anchors: those of the chains of attested documents.
    :ivar tenants: the tenants that operators name, whose managed identities are believed; empty until one does.
    """

    anchors: Anchors = field(default_factory=Anchors)
    tenants: tuple[AzureTenant, ...] = ()

    @classmethod
    def load(cls, provisioners: Sequence[GivenKeys] = ()) -> Self:
        """The pinned roots, and the keys that operators give.

        :param provisioners: the keys that each one's operator gives: ``iid_roots``, a PEM file of CERTIFICATE blocks,
            roots and issuing authorities; the list ``tenants`` and the text ``audience``, which count together; and
            their key set.
        :raises ValueError: with a sentence that names the provisioner, if a file holds no usable certificate.
        """
        return cls(
            anchors.with_operators(pinned_anchors(), anchors.files(provisioners, "iid_roots"), "iid_roots"),
            tuple(
                AzureTenant.of(entry.provisioner, tenant, entry.texts["audience"], entry.key_set)
                for entry in provisioners
                if "audience" in entry.texts
                for tenant in entry.lists.get("tenants", ())
            ),
        )

    def key_sets(self) -> Iterable[KeySet]:
        """Those of the tenants."""
        return [tenant.keys for tenant in self.tenants]

    def scopes(self, key: KeyReference, now: int) -> list[Scope] | None:
        """The scopes in which a key is trusted now; None if the key is not one of Azure's."""
        if key.place == ROOTS:
            return scopes_of_root(self.anchors.roots, key)
        sets = [ScopedKeySet(one.keys, one.scope) for one in self.tenants if one.tenant == key.place]
        return scopes_of_token_key(sets, key, now) if sets else None


@cache
def pinned_anchors() -> Anchors:
    """The roots and issuing authorities behind Azure's attested documents (keys/azure.json)."""
    listed = json.loads(resources.files("acme_iid.attestation.keys").joinpath("azure.json").read_bytes())
    roots, intermediates = (
        [chains.read(base64.b64decode(entry["der"], validate=True)) for entry in listed[kind]]
        for kind in ("roots", "intermediates")
    )
    return Anchors(tuple(map(Root, roots)), tuple(intermediates))
