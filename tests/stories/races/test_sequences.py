"""A thousand random sequences of up to 15 requests (support/sequences.py); tox -e soak makes two hundred thousand."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sequence_server import Server
from sequences import Sequence
from wire import Key, b64


def test_no_sequence_of_requests_breaks_what_must_hold() -> None:
    few = settings(max_examples=1000, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Sequence, settings=few)


def test_a_query_that_is_no_text_is_the_senders_fault() -> None:
    server = Server()
    key = Key()
    # As WSGI has the octet FF; a client's library would not send it.
    target = "/acme/new-account?\xff"
    nonce = server.request("HEAD", "/acme/new-nonce").headers["Replay-Nonce"]
    protected = {"alg": "ES256", "nonce": nonce, "url": server.base + target, "jwk": key.jwk}
    first, second = b64(json.dumps(protected).encode()), b64(b"{}")
    body = {"protected": first, "payload": second, "signature": b64(key.sign(f"{first}.{second}".encode()))}
    refused = server.request("POST", target, json.dumps(body).encode())
    server.close()
    assert (refused.status, refused.json["type"]) == (403, "urn:ietf:params:acme:error:unauthorized")
