"""A cloud that nobody has: all that a further cloud takes, its descriptor, verifier, keys, collector and stand-in.

Its evidence is a JSON object that its key signed: the realm that owns the machine, its number, and the nonce that was
asked for. :func:`register` adds it to the registries; no other line of the project knows it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from acme_iid.attestation import registry
from acme_iid.attestation.fields import check
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.attestation.keysets import KeySet
from acme_iid.attestation.trust import GivenKeys, KeyReference, Scope, TrustStore
from acme_iid.binding import Binding
from acme_iid.errors import AttestationError, Step
from acme_iid.iid01 import IID01Response
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.clouds.cloud_type import DOCUMENT_ROOTS, CloudType, EvidenceFormat, allow_list
from acme_iid.protocol.identifiers import Identifier, dns
from acme_iid.simulator.listener import Request, Response
from acme_iid_client import clouds
from acme_iid_client.clouds.metadata import LINK_LOCAL, MetadataService, NotThisCloudError
from acme_iid_client.clouds.metadata import Response as MetadataResponse
from acme_iid_client.errors import ClientError

FORMAT = "nimbus-signed"
_MARK = "Nimbus-Metadata"


def describe(facts: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[Identifier, ...]]:
    """Facts given by hand, and the names that follow from them."""
    return facts, (dns(f"vm{facts['number']}.nimbus.internal"),) if "number" in facts else ()


CLOUD_TYPE = CloudType(
    type="NIMBUS",
    cloud="nimbus",
    settings=(
        allow_list("realms", ("realm",), "nimbus-realm", "NAME", "A realm whose machines are admitted."),
        allow_list("numbers", ("number",), "nimbus-number", "NUMBER", "A single machine."),
        DOCUMENT_ROOTS,
    ),
    owners=("realms",),
    owner="Nimbus realm",
    owner_id=re.compile(r"[a-z]+"),
    formats={FORMAT: EvidenceFormat(("realm", "number"), default=True)},
    placeholders=("realm", "number"),
    own_name=re.compile(r"vm[0-9]+\.nimbus\.internal\Z"),
    own_domains=("nimbus.internal",),
    instance_id=re.compile(r"nimbus:(?P<owner>[a-z]+):[0-9]+"),
    id_form="nimbus:REALM:NUMBER",
    extension_number=99,
    describe=describe,
)


@dataclass(frozen=True, slots=True)
class NimbusTrust:
    """The keys that operators give; none is pinned."""

    keys: tuple[tuple[Ed25519PublicKey, Scope], ...] = ()

    @classmethod
    def load(cls, given: Sequence[GivenKeys] = ()) -> Self:
        """The keys in the provisioners' ``iid_roots``."""
        keys = []
        for entry in given:
            if "iid_roots" in entry.files:
                key = load_pem_public_key(entry.files["iid_roots"])
                if not isinstance(key, Ed25519PublicKey):
                    raise ValueError(f"iid_roots of the provisioner {entry.provisioner!r} is no key of Nimbus's")
                keys.append((key, frozenset({entry.provisioner})))
        return cls(tuple(keys))

    def key_sets(self) -> Iterable[KeySet]:
        """There is none."""
        return ()

    def scopes(self, key: KeyReference, now: int) -> list[Scope] | None:
        """The scopes in which a key is trusted; None if it is none of Nimbus's."""
        del now
        return [scope for one, scope in self.keys if key_id(one) == key.key_id] if key.place == "nimbus" else None


def key_id(key: Ed25519PublicKey) -> str:
    """How a key is named in records."""
    return f"nimbus:{key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()}"


class NimbusVerifier:
    """Nimbus's one format."""

    format = FORMAT
    cloud = "nimbus"

    def authenticate(self, evidence: Evidence, trust: TrustStore, now: int) -> Claims:
        """Check the signature over the object."""
        del now
        check(evidence.fields, ("evidence",), self.format)
        content, signature = (base64.b64decode(part) for part in evidence.fields["evidence"].split("."))
        for key, scope in trust.part(NimbusTrust).keys:
            try:
                key.verify(signature, content)
            except InvalidSignature:
                continue
            believed_by = ((KeyReference("nimbus", key_id(key)),),)
            return Claims(self.format, json.loads(content), content, key_id(key), scope, believed_by)
        raise AttestationError(Step.SIGNATURE, "no key of Nimbus's that is trusted here signed it")

    def identify(self, claims: Claims) -> InstanceIdentity:
        """Read the facts."""
        realm, number = str(claims.document["realm"]), str(claims.document["number"])
        return InstanceIdentity(
            cloud=self.cloud,
            id=f"nimbus:{realm}:{number}",
            owner=realm,
            instance_id=number,
            credential_id=realm,
            format=claims.format,
            key_id=claims.key_id,
            binding="nonce",
            scope=claims.scope,
            facts={"realm": realm, "number": number},
            names=(dns(f"vm{number}.nimbus.internal"),),
            believed_by=claims.believed_by,
        )

    def judge(self, identity: InstanceIdentity, claims: Claims, binding: Binding, now: int) -> None:
        """Compare the nonce."""
        del identity, now
        if claims.document["nonce"] != binding.nonce:
            raise AttestationError(Step.BINDING, "the nonce is another challenge's or another account key's")


class Nimbus:
    """The client's part: evidence from the metadata service."""

    title = "Nimbus"
    formats: tuple[str, ...] = (FORMAT,)

    def __init__(self, env: Mapping[str, str], metadata_url: str | None, resource: str | None) -> None:
        del env, resource
        self._service = MetadataService(metadata_url or LINK_LOCAL)

    @staticmethod
    def named(env: Mapping[str, str]) -> bool:
        """It has no variable."""
        del env
        return False

    @property
    def base(self) -> str:
        """The service's address."""
        return self._service.base

    def probe(self, seconds: float) -> None:
        """Ask who the machine is; the answer has Nimbus's mark."""
        self._require_mark(self._service.try_once("GET", "/nimbus/machine", {}, seconds))

    def instance(self) -> str:
        """The machine's id."""
        return f"nimbus:{self.facts()['number']}"

    def names(self) -> tuple[str, ...]:
        """The machine's own name."""
        return (f"vm{self.facts()['number']}.nimbus.internal",)

    def facts(self) -> Mapping[str, str]:
        """Realm and number."""
        found: dict[str, str] = json.loads(self._get("/nimbus/machine"))
        return found

    def evidence(self, kind: str, binding: Binding) -> IID01Response:
        """The signed object for a nonce."""
        return IID01Response(format=kind, evidence=self._get(f"/nimbus/evidence?nonce={binding.nonce}").decode())

    def _get(self, path: str) -> bytes:
        answer = self._require_mark(self._service.ask("GET", path, {}))
        if answer.status != HTTPStatus.OK:
            raise ClientError(f"Nimbus answers with status {answer.status}.")
        return answer.content

    def _require_mark(self, answer: MetadataResponse) -> MetadataResponse:
        if _MARK not in answer.headers:
            raise NotThisCloudError("its answers have no mark", "What answers is not Nimbus's metadata service.")
        return answer


@dataclass
class Simulator:
    """A machine's metadata service, and the key that signs its evidence."""

    realm: str = "cirrus"
    number: int = 7
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    banner: str = "Nimbus"
    reads: frozenset[str] = frozenset()

    @property
    def roots(self) -> bytes:
        """What an operator gives the CA."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def answer(self, request: Request) -> Response:
        """Say who the machine is, or sign it with a nonce."""
        facts: dict[str, Any] = {"realm": self.realm, "number": str(self.number)}
        if request.path == "/nimbus/machine":
            return Response(HTTPStatus.OK, json.dumps(facts).encode(), {_MARK: "1"})
        if request.path == "/nimbus/evidence":
            content = json.dumps({**facts, "nonce": parse_qs(request.query)["nonce"][0]}).encode()
            parts = (base64.b64encode(part) for part in (content, self.key.sign(content)))
            return Response(HTTPStatus.OK, b".".join(parts), {_MARK: "1"})
        return Response(HTTPStatus.NOT_FOUND, b"", {_MARK: "1"})


def register() -> None:
    """Add the cloud to the registries of this process."""
    CLOUD_TYPES[CLOUD_TYPE.type] = CLOUD_TYPE
    registry.VERIFIERS[FORMAT] = NimbusVerifier()
    registry.TRUST[CLOUD_TYPE.cloud] = NimbusTrust.load
    clouds.CLOUDS.append(clouds.Collector(Nimbus, Nimbus.formats, Nimbus.named))
