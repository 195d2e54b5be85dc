"""A signing program that does no more than it must: ``sign_with_file.py KEY.pem``, a P-256 key, asks no service."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


def main() -> None:
    """Answer until the end of standard input."""
    key = load_pem_private_key(Path(sys.argv[1]).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    for line in sys.stdin:
        question = json.loads(line)
        if question.get("ask") == "public-key":
            name, found = "public_key", key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            name, found = "signature", key.sign(base64.b64decode(question["tbs"]), ec.ECDSA(hashes.SHA256()))
        print(json.dumps({"id": question["id"], name: base64.b64encode(found).decode()}), flush=True)


if __name__ == "__main__":
    main()
