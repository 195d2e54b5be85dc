"""A signing program that answers rightly, and wrongly when a file beside it names a fault.

It is started as ``PROGRAM FOLDER``: the folder has the key ``key.pem`` and, for one fault, ``fault``, or ``always`` for
a fault that stays. It writes a line into ``starts`` each time that it is started, and its number into ``asked`` each
time that it is asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

FOLDER = Path(sys.argv[1])
KEY = load_pem_private_key((FOLDER / "key.pem").read_bytes(), None)
assert isinstance(KEY, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)


def fault(*names: str) -> str:
    """The fault that is asked for, if it is one of these; it is asked for no more then, unless it stays."""
    always = FOLDER / "always"
    if always.exists() and (name := always.read_text()) in names:
        return name
    path = FOLDER / "fault"
    name = path.read_text() if path.exists() else ""
    if name not in names:
        return ""
    path.unlink()
    return name


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def answer(number: object, signature: bytes) -> str:
    return json.dumps({"id": number, "signature": base64.b64encode(signature).decode()})


def sign(question: dict[str, Any], key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> bytes:
    key, tbs = key or KEY, base64.b64decode(question["tbs"])
    # As a key service is to be asked: it gets the digest, since it refuses long texts.
    digest, algorithm = hashlib.new(question["algorithm"].rpartition("-")[2], tbs).digest(), Prehashed(hashes.SHA256())
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, padding.PKCS1v15(), algorithm)
    return key.sign(digest, ec.ECDSA(algorithm))


def numbers(question: dict[str, Any]) -> tuple[int, int]:
    return decode_dss_signature(sign(question))


def other_key(question: dict[str, Any]) -> str:
    return answer(question["id"], sign(question, ec.generate_private_key(ec.SECP256R1())))


def other_digest(question: dict[str, Any]) -> str:
    return answer(question["id"], sign(question | {"tbs": base64.b64encode(b"something else").decode()}))


def side_by_side(question: dict[str, Any]) -> str:
    r, s = numbers(question)
    return answer(question["id"], r.to_bytes(32) + s.to_bytes(32))


def twice_with_another_first(question: dict[str, Any]) -> str:
    return other_key(question) + "\n" + answer(question["id"], sign(question))


def hang(_: object) -> NoReturn:
    while True:
        time.sleep(3600)


def die(_: object) -> NoReturn:
    os._exit(3)


def late(question: dict[str, Any]) -> str:
    """Answer after the deadline, from a process that stays."""
    time.sleep(2.5)
    return answer(question["id"], sign(question))


def close_output(_: object) -> NoReturn:
    os.close(1)
    time.sleep(3600)
    os._exit(0)


def stop_reading(_: object) -> NoReturn:
    os.close(0)
    time.sleep(3600)
    os._exit(0)


def endless_noise(_: object) -> NoReturn:
    while True:
        say("nothing that answers")


WRONG: dict[str, Callable[[dict[str, Any]], str]] = {
    "hangs": hang,
    "dies": die,
    "answers late": late,
    "closes its output": close_output,
    "stops reading": stop_reading,
    "writes without end": endless_noise,
    "signs with another key": other_key,
    "signs another digest": other_digest,
    "answers wrongly, then rightly": twice_with_another_first,
    "r and s side by side": side_by_side,
    "r is zero": lambda question: answer(question["id"], encode_dss_signature(0, numbers(question)[1])),
    "s is zero": lambda question: answer(question["id"], encode_dss_signature(numbers(question)[0], 0)),
    "cuts the signature": lambda question: answer(question["id"], sign(question)[:-1]),
    "adds to the signature": lambda question: answer(question["id"], sign(question) + b"\0"),
    "answers an id to come": lambda question: answer(question["id"] + 1, sign(question)),
    "answers an id of before": lambda question: answer(question["id"] - 1, sign(question)),
    "answers with no id": lambda question: answer(None, sign(question)),
    "answers with an id as text": lambda question: answer(str(question["id"]), sign(question)),
    "answers with an id that is true": lambda question: answer(True, sign(question)),
    "cuts its JSON": lambda question: answer(question["id"], sign(question))[:-2],
    "answers in brackets": lambda question: f"[{answer(question['id'], sign(question))}]",
    "gives a member twice": lambda question: answer(question["id"], sign(question))[:-1] + ', "signature": ""}',
    "nests deep": lambda _: "[" * 10_000,
    "answers with 1 MB": lambda question: answer(question["id"], b"a" * 1_000_000),
    "answers with 8 KB": lambda question: answer(question["id"], b"a" * 8_000),
    "answers nothing": lambda question: answer(question["id"], b""),
    "answers an empty line": lambda _: "",
    "answers without a signature": lambda question: json.dumps({"id": question["id"]}),
    "answers with a number": lambda question: json.dumps({"id": question["id"], "signature": 1}),
    "answers in hexadecimal": lambda question: json.dumps(
        {"id": question["id"], "signature": sign(question).hex()[1:]}
    ),
    "answers with an error": lambda question: json.dumps(
        {"id": question["id"], "error": "AccessDenied\nfor this role"}
    ),
}


def beside() -> None:
    """Faults after which the answer is right nevertheless."""
    if fault("takes half a second"):
        time.sleep(0.5)
    if fault("writes a banner"):
        say("Welcome to the signing service!\n{}\n[1]\n\x1b[31mcoloured\x00")
    if fault("writes 1 MB to stderr"):
        sys.stderr.write("a trouble of no importance\n" * 40_000)
    if fault("writes its key to stderr"):
        sys.stderr.write("here it is:\n" + (FOLDER / "key.pem").read_text() + "and that was it\n")


def main() -> None:
    with (FOLDER / "starts").open("a") as starts:
        starts.write("started\n")
    if fault("exits at start"):
        sys.exit(4)
    if fault("hangs at start"):
        hang(None)
    for line in sys.stdin:
        question = json.loads(line)
        with (FOLDER / "asked").open("a") as asked:
            asked.write(f"{os.getpid()}\n")
        if question.get("ask") == "public-key":
            spki = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            say(json.dumps({"id": question["id"], "public_key": base64.b64encode(spki).decode()}))
            continue
        beside()
        if name := fault(*WRONG):
            say(WRONG[name](question))
            continue
        say(answer(question["id"], sign(question)))
        if fault("answers twice"):
            say(answer(question["id"], sign(question)))
        if fault("dies after the answer"):
            os._exit(5)


if __name__ == "__main__":
    main()
