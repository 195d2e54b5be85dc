"""Answers to iid-01 that are refused: what the challenge and the order say then."""

from __future__ import annotations

import requests
from wire import Account, b64, csr, problem


def refusal(response: requests.Response) -> str:
    """The detail of a challenge that an answer made invalid."""
    assert response.status_code == 200, response.text
    challenge = response.json()
    assert challenge["status"] == "invalid", challenge
    assert challenge["error"]["type"] == "urn:ietf:params:acme:error:unauthorized"
    return str(challenge["error"]["detail"])


def refused(account: Account, name: str, given: dict[str, str]) -> str:
    """Order a name, answer, and see the order end with the challenge; the detail."""
    ordered, (response,) = account.prove(name, answer=given)
    detail = refusal(response)
    assert account.post(ordered.headers["Location"]).json()["status"] == "invalid"
    finalize = account.post(ordered.json()["finalize"], {"csr": b64(csr(name)[1])})
    assert problem(finalize) == "orderNotReady"
    return detail
