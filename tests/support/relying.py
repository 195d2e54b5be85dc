"""What tests of earlier proofs do: renew with three requests, and make what is stored older than it is."""

from __future__ import annotations

import json
from typing import Any

import requests
from running import answer
from wire import Account, Issued, b64, csr, problem

from acme_iid.simulator import aws
from acme_iid.store.database import Database

DAY = 86400


def first(account: Account, instance: aws.Instance, *names: str) -> Issued:
    """A certificate whose names are proven for it."""
    return account.obtain(*names, answer=answer(instance))


def status(account: Account, *names: str, **members: object) -> str:
    """The status of a new order for names."""
    ordered = account.order(*names, **members)
    assert ordered.status_code == 201, ordered.text
    found: str = ordered.json()["status"]
    return found


def ready(account: Account, *names: str) -> requests.Response:
    """The response to newOrder, which is ready at once."""
    ordered = account.order(*names)
    assert (ordered.status_code, ordered.json()["status"]) == (201, "ready"), ordered.text
    return ordered


def finalize(account: Account, ordered: requests.Response, *names: str) -> requests.Response:
    """POST finalize with a signing request for names."""
    return account.post(ordered.json()["finalize"], {"csr": b64(csr(*names)[1])})


def renew(account: Account, *names: str) -> Issued:
    """Get a certificate with newOrder, finalize and a look at the certificate."""
    ordered = ready(account, *names)
    key, request = csr(*names)
    done = account.post(ordered.json()["finalize"], {"csr": b64(request)})
    assert done.status_code == 200, done.text
    chain = account.post(done.json()["certificate"])
    assert chain.status_code == 200, chain.text
    return Issued(ordered.headers["Location"], chain.text, key)


def proven_events(events: str) -> list[dict[str, Any]]:
    """The events of orders that were born ready, newest first, of what ``events --json`` prints."""
    return [event for event in json.loads(events) if event["kind"] == "order.proven"]


def age(store: Database, order: str, seconds: int, dated: int | None = None) -> None:
    """Make an order, its challenges and certificate, older than it is.

    :param order: its URL.
    :param dated: so many seconds before it was validated its evidence was made, by the evidence's own word.
    """
    n = int(order.rpartition("/")[2].split(".")[0])
    document = json.loads(store.rows("SELECT doc FROM orders WHERE n = :n", n=n)[0]["doc"])
    for entry in document["authorizations"]:
        for challenge in entry["challenges"]:
            if len(challenge) > 2:
                challenge[2] -= seconds
                validated_at = challenge[2]
    for proof in document["proofs"]:
        identity = json.loads(proof[2])
        if dated is not None:
            identity["dated_at"] = validated_at - dated
        elif identity["dated_at"] is not None:
            identity["dated_at"] -= seconds
        proof[2] = json.dumps(identity, separators=(",", ":"))
    with store.transaction() as transaction:
        changed = transaction.run(
            "UPDATE orders SET created_at = created_at - :seconds, doc = :doc, version = version + 1 WHERE n = :n",
            seconds=seconds,
            doc=json.dumps(document, separators=(",", ":")),
            n=n,
        )
    assert changed == 1


def refused(account: Account, ordered: object, *names: str) -> str:
    """Why the finalization of an order is refused as unauthorized."""
    response = finalize(account, ordered, *names)  # type: ignore[arg-type]
    assert problem(response) == "unauthorized", response.text
    detail: str = response.json()["detail"]
    return detail
