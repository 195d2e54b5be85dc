"""The requests that the tests of signatures, nonces and URLs send."""

from __future__ import annotations

import requests
from conformance.answers import Body
from conformance.client import Account
from conformance.jose import Key, b64


def reading(account: Account, **members: object) -> Body:
    """A good POST-as-GET of the account, with members of the protected header replaced."""
    return account.server.body(account.url, None, account.key, account.url, **members)


def send(account: Account, body: object) -> requests.Response:
    return account.server.send(account.url, body)


def signed_over(key: Key, protected: str, payload: str) -> Body:
    """A JWS over the texts as they are, whatever they are."""
    return {"protected": protected, "payload": payload, "signature": b64(key.sign(f"{protected}.{payload}".encode()))}
