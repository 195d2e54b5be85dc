"""Make the test vectors of rfc-notes/iid-01.md: ``python -m vectors.make``, run in tests/suites/, writes iid-01.json.

Nothing in it is random: keys and certificates are fixed, the clock stands still, and every signature is
RSASSA-PKCS1-v1_5 or deterministic ECDSA (RFC 6979). Documents have the byte shapes of the clouds' own. What must come
out is written down beside each piece of evidence, and not asked of the verifiers.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from vectors import aws_evidence, azure_evidence, gcp_evidence
from vectors.fixed import CHALLENGES, NOW, account_key, authority, base64url, bound, public_jwk, token, token_key

from acme_iid.protocol import jwk
from acme_iid.store.chain import GENESIS, Entry

FILE = Path(__file__).with_name("iid-01.json")
URL = "https://ca.example"


def vectors() -> dict[str, object]:
    """Everything in the file."""
    return {
        "about": "Test vectors for the ACME challenge iid-01. The keys in them are public test keys.",
        "now": NOW,
        "bindings": [_binding(name) for name in CHALLENGES],
        "challenge": _challenge(),
        "trust": _trust(),
        "evidence": [case.vector for module in (aws_evidence, gcp_evidence, azure_evidence) for case in module.cases()],
        "events": _events(),
    }


def _binding(name: str) -> dict[str, object]:
    account, challenge_token = CHALLENGES[name]
    key, found = account_key(account), bound(name)
    thumbprint = jwk.thumbprint(key.public_key())
    return {
        "name": name,
        "jwk": public_jwk(key),
        "thumbprint": thumbprint,
        "token": challenge_token,
        "key_authorization": f"{challenge_token}.{thumbprint}",
        "k": found.digest.hex(),
        "audience": found.audience,
        "nonce": found.nonce,
        "spki": base64url(found.public_key),
    }


def _challenge() -> dict[str, object]:
    """One challenge for foo.local before and after the answer that proves it."""
    pending = {
        "type": "iid-01",
        "status": "pending",
        "url": f"{URL}/acme/challenge/Rg5dV14Gh1Q",
        "token": CHALLENGES["example"][1],
        "formats": ["gcp-identity", "aws-rsa2048"],
        "audience": bound().audience,
        "nonce": bound().nonce,
    }
    names = [*gcp_evidence.IDENTITY.names, ("dns", "foo.local")]
    claims = gcp_evidence.claims()
    return {
        "pending": pending,
        "claims": claims,
        "answer": {"format": "gcp-identity", "evidence": token(claims, token_key("gcp-token"))},
        "valid": {
            **pending,
            "status": "valid",
            "validated": "2025-06-15T15:06:40Z",
            "names": [{"type": kind, "value": value} for kind, value in names],
        },
    }


def _trust() -> dict[str, object]:
    """What evidence is verified under: to be configured for a run of the vectors, and for nothing else."""
    aws_keys = [
        {
            "kind": kind,
            "regions": ["us-west-2"],
            "spki": base64url(jwk.spki(account_key(f"aws-{kind}").public_key())),
        }
        for kind in ("rsa2048", "rsa1024")
    ]
    issuer = aws_evidence.ISSUER
    return {
        "aws": aws_keys,
        "nitro_root": _root("nitro-signer"),
        "azure_root": _root("azure-signer"),
        "gcp": {"keys": [token_key("gcp-token").jwk]},
        "web_identity": {
            "issuer": issuer.url,
            "account": aws_evidence.INSTANCE.account,
            "keys": [issuer.rs256.jwk, issuer.es384.jwk],
        },
        "azure_tenant": {
            "tenant": azure_evidence.VM.tenant,
            "audience": azure_evidence.AUDIENCE,
            "keys": [token_key("azure-tenant").jwk],
        },
    }


def _root(name: str) -> str:
    return authority(name).chain[-1].public_bytes(Encoding.PEM).decode()


def _events() -> list[dict[str, object]]:
    """Two events of a record, the second after the first."""
    instance = gcp_evidence.IDENTITY.id
    seen = json.dumps({"format": "gcp-identity", "step": "binding"}, sort_keys=True)
    entries = (
        Entry(1, NOW, "challenge.refused", "A1", instance, "gcp", "123456789012", "foo.local", seen),
        Entry(2, NOW + 1, "account.deactivated", "A1", None, None, None, None, json.dumps({"by": "operator"})),
    )
    found: list[dict[str, object]] = []
    previous = GENESIS
    for entry in entries:
        text = json.dumps(list(entry), separators=(",", ":"))
        previous = hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
        found.append({"columns": list(entry), "hash": previous})
    return found


def text() -> str:
    """The file's text."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
