"""What judging evidence costs: milliseconds for good evidence of each format, and for the worst that fits its limits.

Run it with ``python tests/tools/benchmarks/verifiers.py``. It asserts nothing: the limits (bytes, nodes, depth, links)
have their tests beside each reader.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

import forge
import forge_azure
import forge_chains
import forge_tokens

from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.errors import AttestationError, MalformedEvidenceError

RUNS = 50


def nested_ber(size: int) -> bytes:
    """Indefinite-length values, one inside the other."""
    return b"\x30\x80" * (size // 4) + b"\0\0" * (size // 4)


def wide_ber(size: int) -> bytes:
    """As many empty values as fit, in one."""
    return b"\x30\x80" + b"\x05\0" * (size // 2 - 2) + b"\0\0"


def good() -> Iterator[tuple[str, Evidence, TrustStore, int]]:
    """Evidence that verifies, with what trusts it."""
    document = forge.document()
    yield "aws-rsa2048", forge.aws_rsa2048(document), forge.trust(), forge.SIGNED_AT
    yield "aws-signature", forge.aws_signature(document), forge.trust(), forge.SIGNED_AT
    yield "aws-pkcs7", forge.aws_pkcs7(document), forge.trust(), forge.SIGNED_AT
    yield "gcp-identity", forge_tokens.gcp_identity(), forge_tokens.trust(), forge_tokens.ISSUED_AT
    yield "aws-web-identity", forge_tokens.aws_web_identity(), forge_tokens.trust(), forge_tokens.ISSUED_AT
    yield "azure-attested", forge_azure.attested(), forge_azure.trust(), forge_azure.NOW
    yield "azure-managed-identity", forge_azure.managed_identity(), forge_azure.trust(), forge_azure.NOW


def hostile() -> Iterator[tuple[str, Evidence, TrustStore, int]]:
    """Evidence that costs its sender little, as large as an answer may be."""
    trust, now, size = forge.trust(), forge.SIGNED_AT, 47 * 1024
    for name, data in (("nested BER", nested_ber(size)), ("wide BER", wide_ber(size)), ("zeros", bytes(size))):
        text = base64.standard_b64encode(data).decode()
        yield f"aws-rsa2048, {name}", Evidence("aws-rsa2048", {"evidence": text}), trust, now
    brackets = forge.aws_rsa2048(b'{"a":' + b"[" * 8000)
    yield "aws-rsa2048, nested JSON", brackets, trust, now
    members = b"{" + b",".join(b'"%d":0' % number for number in range(1500)) + b"}"
    yield "aws-rsa2048, many members", forge.aws_rsa2048(members), trust, now
    yield "aws-rsa2048, signed by nobody", forge.aws_rsa2048(forge.document(), forge.other_keys().rsa2048), trust, now
    token = ".".join(["A" * 5000] * 3)
    yield "gcp-identity, long junk", Evidence("gcp-identity", {"evidence": token}), forge_tokens.trust(), now
    cbor = base64.urlsafe_b64encode(b"\x84\x44\xa1\x01\x38\x22\xa0" + b"\x9f" * 20_000).rstrip(b"=").decode()
    fields = {"evidence": cbor, "rsa2048": forge.aws_rsa2048(forge.document()).fields["evidence"]}
    yield "aws-nitrotpm, nested CBOR", Evidence("aws-nitrotpm", fields), trust, now
    for name, evidence in forge_chains.chains():
        yield f"azure-attested, {name}", evidence, forge_azure.trust(), forge_azure.NOW


def milliseconds(work: Callable[[], object]) -> float:
    """The median CPU time of one call."""
    taken = []
    for _ in range(RUNS):
        begun = time.process_time_ns()
        work()
        taken.append(time.process_time_ns() - begun)
    return statistics.median(taken) / 1e6


def authenticate(evidence: Evidence, trust: TrustStore, now: int) -> str:
    """Judge the evidence's form and signature; what came of it."""
    try:
        VERIFIERS[evidence.format].authenticate(evidence, trust, now)
    except AttestationError as error:
        return f"refused: {error.step.value}"
    except MalformedEvidenceError:
        return "malformed"
    return "verified"


def main() -> None:
    """Print a table."""
    argparse.ArgumentParser(description="CPU time of judging evidence, for each format.").parse_args()
    print(f"{'evidence':60} {'CPU ms':>8}  outcome")
    for source in (good, hostile):
        for name, evidence, trust, now in source():
            cost = milliseconds(lambda e=evidence, t=trust, n=now: authenticate(e, t, n))  # type: ignore[misc]
            print(f"{name:60} {cost:8.3f}  {authenticate(evidence, trust, now)}")


if __name__ == "__main__":
    main()
