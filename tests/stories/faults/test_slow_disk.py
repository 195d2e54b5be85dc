"""A disk that takes long to keep what it is given: each sync of the log takes hundreds of milliseconds, for real."""

from __future__ import annotations

import threading
import time

import requests
from injecting import injected
from running import ACCOUNT, CA, answer
from wire import Account, b64, csr, problem

from acme_iid.simulator import aws

CLIENTS = 10


class Client:
    """Orders one certificate, and comes back when it is told to."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.chain = ""
        self.fault: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._order()
        except BaseException as fault:  # noqa: BLE001 - the test's thread says it
            self.fault = fault

    def _order(self) -> None:
        instance = aws.Instance(account=ACCOUNT)
        ordered = self._post(
            self.account.wire.directory["newOrder"], {"identifiers": [{"type": "dns", "value": "foo.local"}]}
        )
        order = ordered.json()
        challenge = self._post(order["authorizations"][0]).json()["challenges"]
        url = next(entry["url"] for entry in challenge if entry["type"] == "iid-01")
        assert self._post(url, answer(instance)).json()["status"] == "valid"
        done = self._post(order["finalize"], {"csr": b64(csr("foo.local")[1])}).json()
        assert done["status"] == "valid"
        self.chain = self._post(done["certificate"]).text

    def _post(self, url: str, payload: object = None) -> requests.Response:
        deadline = time.monotonic() + 60
        while True:
            response = self.account.post(url, payload)
            if response.status_code < 400:
                return response
            assert response.status_code == 503, response.text
            assert problem(response) == "serverInternal"
            assert int(response.headers["Retry-After"]) > 0
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_a_disk_that_syncs_slowly_loses_nothing_and_health_is_answered(own_ca: CA) -> None:
    own_ca.start("--workers", "2")
    clients = [Client(own_ca.account()) for _ in range(CLIENTS)]
    with injected(own_ca.workers(), "fdatasync", "delay_enter=600ms"):
        for client in clients:
            client.thread.start()
        health = own_ca.wire().session
        while any(client.thread.is_alive() for client in clients):
            assert health.get(f"{own_ca.url}/health", timeout=10).status_code == 200
            time.sleep(0.1)
        for client in clients:
            client.thread.join()
    for client in clients:
        assert client.fault is None, client.fault
        orders = client.account.post(f"{client.account.url}/orders").json()["orders"]
        valid = [url for url in orders if client.account.post(url).json()["status"] == "valid"]
        assert len(valid) == 1
        certificate = client.account.post(valid[0]).json()["certificate"]
        assert client.account.post(certificate).text == client.chain
    assert "Traceback" not in "".join(own_ca.log)
    assert own_ca.cli("events", "--check").stdout.startswith("OK: ")
