"""Enrolment on the wire: what a bound account asks for, and the delegate that it makes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import requests
from running import ACCOUNT, CA, answer
from wire import Account, Key, Wire, b64, csr, problem

from acme_iid.simulator import aws
from acme_iid.store.database import Database


def whole_id(instance: aws.Instance) -> str:
    """The instance's id at the CA."""
    return f"aws:aws:{ACCOUNT}:{instance.region}:{instance.instance_id}"


def bind(wire: Wire, key: Key, key_id: str, secret: str) -> dict[str, str]:
    """A binding of an external key to ``key`` (RFC 8555 section 7.3.4)."""
    protected = {"alg": "HS256", "kid": key_id, "url": wire.directory["newAccount"]}
    first, second = (b64(json.dumps(part).encode()) for part in (protected, key.jwk))
    mac = hmac.digest(base64.urlsafe_b64decode(secret + "="), f"{first}.{second}".encode(), hashlib.sha256)
    return {"protected": first, "payload": second, "signature": b64(mac)}


def proven(account: Account, instance: aws.Instance, *names: str) -> str:
    """The URL of an order whose names iid-01 has proven."""
    ordered, answers = account.prove(*names, answer=answer(instance))
    assert all(entry.json()["status"] == "valid" for entry in answers), [entry.text for entry in answers]
    return ordered.headers["Location"]


def enrol(account: Account, order: str, **members: object) -> requests.Response:
    """POST to the enrolment resource."""
    return account.post(account.wire.directory["meta"]["iidEnrolment"], {"order": order, **members})


def enrolled(account: Account, instance: aws.Instance, *names: str) -> dict[str, Any]:
    """An enrolment with its external key."""
    made = enrol(account, proven(account, instance, *names))
    assert made.status_code in (200, 201), made.text
    found: dict[str, Any] = made.json()
    return found


def register(wire: Wire, given: dict[str, Any], key: Key | None = None) -> tuple[requests.Response, Account]:
    """newAccount with an enrolment's external key; the answer, and the account that it may have made."""
    key = key or Key()
    payload = {
        "termsOfServiceAgreed": True,
        "externalAccountBinding": bind(wire, key, given["kid"], given["hmacKey"]),
    }
    made = wire.post(wire.directory["newAccount"], payload, key)
    return made, Account(wire, key, made.headers.get("Location", ""))


def delegate(ca: CA, account: Account, instance: aws.Instance, *names: str) -> Account:
    """An account that ``account`` has enrolled for names."""
    made, account = register(ca.wire(), enrolled(account, instance, *names))
    assert made.status_code == 201, made.text
    return account


def finalize(account: Account, order: dict[str, Any], *names: str) -> requests.Response:
    """POST finalize with a signing request for names."""
    return account.post(order["finalize"], {"csr": b64(csr(*names)[1])})


def issue(account: Account, *names: str) -> dict[str, Any]:
    """What a delegate does: order, look at the authorizations, finalize; the finalized order."""
    ordered = account.order(*names)
    assert ordered.status_code == 201, ordered.text
    assert ordered.json()["status"] == "ready"
    done = finalize(account, ordered.json(), *names)
    assert done.status_code == 200, done.text
    body: dict[str, Any] = done.json()
    return body


def change(store: Database, statement: str, **parameters: object) -> None:
    with store.transaction() as transaction:
        assert transaction.run(statement, **parameters) == 1


def refusal(response: object) -> tuple[str, str]:
    """The error's short name, and its sentence."""
    return problem(response), response.json()["detail"]  # type: ignore[arg-type, attr-defined]
