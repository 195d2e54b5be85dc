"""AWS KMS as moto has it, as a process: ``key_service.py FOLDER``, which prints its port.

moto hashes what is to be signed whatever MessageType says, and takes texts of any length; here KMS is as its reference
has it. Each request is written into the file ``requests`` of the folder, a line each. A file ``fault`` names what is to
go wrong, as long as it is there.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.core.exceptions import JsonRESTError
from moto.kms.exceptions import ValidationException
from moto.kms.responses import KmsResponse
from moto.kms.utils import ECDSAPrivateKey, RSAPrivateKey
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

FOLDER = Path(sys.argv[1])
LONGEST_BYTES = 4096
"""Of a text that KMS hashes itself (its API reference, Sign)."""
_ALGORITHMS = {"ECDSA_SHA_256": "ECC_NIST_P256", "RSASSA_PKCS1_V1_5_SHA_256": "RSA"}

_lock = threading.Lock()
_sign_text = KmsResponse.sign


def sign(response: KmsResponse) -> str:
    """Sign, as the operation Sign of KMS."""
    asked = {name: response._get_param(name) for name in ("KeyId", "Message", "MessageType", "SigningAlgorithm")}
    with _lock, (FOLDER / "requests").open("a") as requests:
        message = base64.b64encode(asked["Message"]).decode()
        requests.write(json.dumps(asked | {"Message": message, "length": len(asked["Message"])}) + "\n")
    _fail_if_asked()
    if asked["MessageType"] != "DIGEST":
        if len(asked["Message"]) > LONGEST_BYTES:
            raise ValidationException("Value at 'message' failed to satisfy constraint: "
                                      f"Member must have length less than or equal to {LONGEST_BYTES}")  # fmt: skip
        return _sign_text(response)
    return _sign_digest(response, asked["KeyId"], asked["Message"], asked["SigningAlgorithm"])


def _sign_digest(response: KmsResponse, name: str, digest: bytes, algorithm: str) -> str:
    key = response.kms_backend.describe_key(response.kms_backend.get_key_id(name))
    if len(digest) != hashes.SHA256.digest_size or not key.key_spec.startswith(_ALGORITHMS[algorithm]):
        raise ValidationException("Digest is of invalid length, or the algorithm is not the key's")
    own, hashed = key.private_key, Prehashed(hashes.SHA256())
    if isinstance(own, ECDSAPrivateKey):
        signature = own.private_key.sign(digest, ec.ECDSA(hashed))
    else:
        assert isinstance(own, RSAPrivateKey)
        signature = own.private_key.sign(digest, padding.PKCS1v15(), hashed)
    answer = {"KeyId": key.arn, "Signature": base64.b64encode(signature).decode(), "SigningAlgorithm": algorithm}
    return json.dumps(answer)


def _fail_if_asked() -> None:
    fault = FOLDER / "fault"
    match fault.read_text() if fault.exists() else "":
        case "refuses":
            raise JsonRESTError("AccessDeniedException", "the role may not sign with this key")
        case "is busy":
            raise JsonRESTError("ThrottlingException", "you have exceeded the rate")
        case "hangs":
            threading.Event().wait()


class Quiet(WSGIRequestHandler):
    """Says nothing of requests."""

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - the library's name for it
        """Keep it."""


setattr(KmsResponse, "sign", sign)  # noqa: B010 - a method of moto's class, which moto finds by its name
application = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
sys.stdout.write(f"{server.server_port}\n")
sys.stdout.flush()
server.serve_forever()
