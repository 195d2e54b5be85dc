#!/usr/bin/env python3
"""Signs with keys of AWS KMS, for key = "exec:/usr/local/bin/sign-with-kms alias/acme" (docs/how-to/hsm.md).

It needs boto3, and a region and credentials where boto3 finds them, with kms:Sign and kms:GetPublicKey for the key.
"""

import base64
import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ALGORITHMS = {"ecdsa-sha256": "ECDSA_SHA_256", "rsa-pkcs1-sha256": "RSASSA_PKCS1_V1_5_SHA_256"}
# The CA waits for two seconds, and asks again by itself.
kms = boto3.client("kms", config=Config(connect_timeout=1, read_timeout=1.5, retries={"total_max_attempts": 1}))


def ask(question: dict[str, str]) -> dict[str, bytes]:
    """Have KMS answer one question."""
    if question.get("ask") == "public-key":
        return {"public_key": kms.get_public_key(KeyId=question["key"])["PublicKey"]}
    algorithm = ALGORITHMS[question["algorithm"]]
    # KMS refuses texts of more than 4,096 bytes, and a revocation list is longer than that: it gets the digest.
    digest = hashlib.sha256(base64.b64decode(question["tbs"])).digest()
    signed = kms.sign(KeyId=question["key"], Message=digest, MessageType="DIGEST", SigningAlgorithm=algorithm)
    return {"signature": signed["Signature"]}


def answer(question: dict[str, str]) -> None:
    """Answer a question with one line, which one write puts into the pipe whole."""
    try:
        found = {name: base64.b64encode(value).decode() for name, value in ask(question).items()}
    except (BotoCoreError, ClientError) as error:
        found = {"error": str(error)}
    os.write(1, json.dumps({"id": question["id"], **found}).encode() + b"\n")


with ThreadPoolExecutor(8) as pool:
    for line in sys.stdin:
        pool.submit(answer, json.loads(line))
