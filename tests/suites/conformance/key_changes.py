"""Key changes, good and spoilt (RFC 8555 section 7.3.5)."""

from __future__ import annotations

import requests
from conformance.answers import Body
from conformance.client import Account
from conformance.jose import Key, jws


def key_change(account: Account, new: Key, /, **changes: object) -> tuple[Body, Body]:
    """The inner JWS's header and payload of a key change; ``changes`` replaces members, None takes one out."""
    header: Body = {"alg": new.alg, "jwk": new.jwk, "url": account.server.directory["keyChange"]}
    payload: Body = {"account": account.url, "oldKey": account.key.jwk}
    for name, value in changes.items():
        (payload if name in payload else header)[name] = value
    return {name: value for name, value in header.items() if value is not None}, payload


def change(account: Account, new: Key, /, **changes: object) -> requests.Response:
    """POST a key change as the account, whatever comes of it."""
    header, payload = key_change(account, new, **changes)
    return account.post(account.server.directory["keyChange"], jws(new, header, payload))
