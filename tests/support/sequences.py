"""Random sequences of requests, right and wrong, by several accounts, against the app in this process through WSGI.

What must hold whatever is sent (:class:`Sequence`): no answer is a failure of the server; whatever is refused is a
problem document; a resource is shown to the account that it belongs to and to no other; and a certificate is issued
only when every authorization of its order was valid at that moment.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sequence_server import ANSWERED, Account, Answer, Resource, server
from wire import Key, b64, csr

NAMES = ("a.local", "b.local", "c.local")
"""Few, so that orders meet each other's authorizations and revocations."""

ODD = ("notAfter", "notBefore", "profile", "replaces", "outside")
ANSWERS = ("good", "good", "good", "other", "stale", "bad", "junk")
REQUESTS = ("right", "right", "right", "names", "key", "junk")
reasons = st.sampled_from([None, 0, 1, 4, 7, "x"])
index = st.integers(0, 7)
"""Which of the things there are, counted round."""
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
junk: st.SearchStrategy[Any] = st.sampled_from(
    [None, {}, [], "text", 7, True, {"identifiers": "x"}, {"status": 7}, {"contact": [7]}]
)


@functools.cache
def _requests(wanted: tuple[str, ...], _generation: int = 0) -> tuple[Key, str]:
    key, der = csr(*wanted)
    return key, b64(der)


class Sequence(RuleBasedStateMachine):
    """One sequence, with two accounts and what they have made."""

    def __init__(self) -> None:
        super().__init__()
        self.server = server()
        self.directory = "/acme/directory"
        self.nonce = ""
        self.spent = ""
        self.accounts: list[Account] = []
        self.orders: list[Resource] = []
        self.authorizations: list[Resource] = []
        self.challenges: list[Resource] = []
        self.certificates: list[Resource] = []
        self.proven: dict[str, str] = {}

    # -- the wire

    def send(
        self, path: str, payload: object, key: Key, kid: str | None, changes: Mapping[str, Any] | None = None
    ) -> Answer:
        """POST a signed request to a path; ``changes`` replace members of its protected header."""
        if not self.nonce:
            self.nonce = self.server.request("HEAD", "/acme/new-nonce").headers["Replay-Nonce"]
        protected: dict[str, Any] = {"alg": "ES256", "nonce": self.nonce, "url": self.server.base + path}
        protected |= {"jwk": key.jwk} if kid is None else {"kid": self.server.base + kid}
        protected |= changes or {}
        raw = b"" if payload is None else json.dumps(payload).encode()
        first, second = b64(json.dumps(protected).encode()), b64(raw)
        body = {"protected": first, "payload": second, "signature": b64(key.sign(f"{first}.{second}".encode()))}
        self.spent, self.nonce = self.nonce, ""
        return self.check(self.server.request("POST", path, json.dumps(body).encode()))

    def check(self, response: Answer) -> Answer:
        """What holds for every answer to a POST."""
        status = response.status
        ANSWERED[status] += 1
        assert status < 500, response.text
        assert response.headers["Replay-Nonce"]
        assert any('rel="index"' in link for link in response.headers.getlist("Link"))
        if status >= 400:
            assert response.headers["Content-Type"] == "application/problem+json", response.text
            body = response.json
            assert body["type"].startswith("urn:ietf:params:acme:error:")
            assert body["status"] == status
            assert not {"identifiers", "challenges", "token", "finalize", "contact", "certificate"} & body.keys()
        self.nonce = response.headers["Replay-Nonce"]
        return response

    def path(self, url: str) -> str:
        """The path of one of our URLs."""
        assert url.startswith(self.server.base + "/acme/"), url
        return url.removeprefix(self.server.base)

    def post(self, account: Account, path: str, payload: object = None) -> Answer:
        """POST as an account; one that is deactivated gets nothing."""
        response = self.send(path, payload, account.key, account.url)
        assert account.active or response.status in (400, 401), response.text
        return response

    def as_owner_or_not(self, who: Account, found: Resource, response: Answer) -> bool:
        """Whether an answer about a resource is to its owner; any other account is refused."""
        if who is not found.owner:
            # What is no request at all is told so before it is looked up; nothing is shown by that.
            assert response.status in (400, 401, 403), response.text
            assert response.json["type"].endswith(":malformed" if response.status == 400 else ":unauthorized")
            return False
        return response.status < 400

    def one(self, of: list[Any], number: int) -> Any:
        """One of several, counted round; None if there is none."""
        return of[number % len(of)] if of else None

    # -- what is learned

    def learn_order(self, owner: Account, url: str, body: dict[str, Any]) -> None:
        """Note an order and its authorizations."""
        known = {entry.url for entry in self.orders}
        if url not in known:
            self.orders.append(Resource(owner, url, body))
            for authorization in body["authorizations"]:
                self.read_authorization(owner, self.path(authorization))

    def read_authorization(self, owner: Account, url: str) -> None:
        """Read an authorization and note its challenges."""
        body = self.post(owner, url).json
        self.authorizations.append(Resource(owner, url, body))
        for entry in body.get("challenges", ()):
            self.challenges.append(Resource(owner, self.path(entry["url"]), {"authorization": url}))

    # -- requests

    @initialize()
    def begin(self) -> None:
        """Two accounts, with keys that no other sequence of this store has used."""
        for key in (Key(), Key()):
            made = self.send("/acme/new-account", {"termsOfServiceAgreed": True}, key, None)
            assert made.status == 201, made.text
            self.accounts.append(Account(key, self.path(made.headers["Location"])))

    @rule(number=index, existing=st.booleans(), contact=st.sampled_from([None, [], ["mailto:a@b.c"], ["tel:1"], 7]))
    def new_account(self, number: int, existing: bool, contact: object) -> None:
        account = self.accounts[number % 2]
        payload = {"onlyReturnExisting": existing} | ({} if contact is None else {"contact": contact})
        response = self.send("/acme/new-account", payload, account.key, None)
        if response.status == 200:
            assert account.active
            assert self.path(response.headers["Location"]) == account.url

    @rule(number=index, other=index, payload=st.sampled_from([None, {"contact": []}, {"contact": ["mailto:x@y.z"]}]))
    def read_account(self, number: int, other: int, payload: object) -> None:
        who, whose = self.accounts[number % 2], self.accounts[other % 2]
        response = self.post(who, whose.url, payload)
        if who is not whose:
            assert response.status in (401, 403)

    @rule(number=index, certain=st.integers(0, 9))
    def deactivate_account(self, number: int, certain: int) -> None:
        account = self.accounts[number % 2]
        if certain == 0 and account.active:
            assert self.post(account, account.url, {"status": "deactivated"}).status == 200
            account.active = False

    @rule(
        number=index,
        wanted=names,
        odd=st.sampled_from([None, *ODD]),
    )
    def new_order(self, number: int, wanted: list[str], odd: str | None) -> None:
        account = self.accounts[number % 2]
        payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in wanted]}
        if odd == "outside":
            payload["identifiers"].append({"type": "dns", "value": "outside.example"})
        elif odd is not None:
            payload[odd] = "2000-01-01T00:00:00Z"
        response = self.post(account, "/acme/new-order", payload)
        if response.status == 201:
            assert odd is None
            self.learn_order(account, self.path(response.headers["Location"]), response.json)

    @rule(number=index, name=st.sampled_from([*NAMES, "*.a.local", "outside.example"]))
    def new_authorization(self, number: int, name: str) -> None:
        account = self.accounts[number % 2]
        response = self.post(account, "/acme/new-authz", {"identifier": {"type": "dns", "value": name}})
        if response.status == 201:
            assert name in NAMES
            self.read_authorization(account, self.path(response.headers["Location"]))

    @rule(
        number=index,
        which=index,
        kind=st.sampled_from(["orders", "authorizations", "challenges", "certificates"]),
        payload=st.one_of(st.none(), st.none(), junk),
    )
    def read(self, number: int, which: int, kind: str, payload: object) -> None:
        found: Resource | None = self.one(getattr(self, kind), which)
        who = self.accounts[number % 2]
        if found is None or (kind == "challenges" and payload is not None):
            return
        self.as_owner_or_not(who, found, self.post(who, found.url, payload))

    @rule(number=index, other=index, before=st.sampled_from(["", "?before=1.x", "?before=x", "?before=99999999999.z"]))
    def list_orders(self, number: int, other: int, before: str) -> None:
        who, whose = self.accounts[number % 2], self.accounts[other % 2]
        response = self.post(who, f"{whose.url}/orders{before}")
        if response.status == 200:
            assert who is whose
            own = {entry.url for entry in self.orders if entry.owner is who}
            assert {self.path(url) for url in response.json["orders"]} <= own

    @rule(
        number=index,
        which=index,
        how=st.sampled_from(ANSWERS),
        payload=junk,
    )
    def answer(self, number: int, which: int, how: str, payload: object) -> None:
        found: Resource | None = self.one(self.challenges, which)
        if found is None:
            return
        who = found.owner if how == "good" else self.accounts[number % 2]
        other = next(account for account in self.accounts if account is not who)
        given: object = payload
        if how in ("good", "other"):
            given = dict(who.evidence if how == "good" else other.evidence)
        elif how == "stale":
            given = who.evidence | {"document": b64(b"{}")}
        elif how == "bad":
            given = who.evidence | {"format": "gcp-identity"}
        if given is None:
            return
        response = self.post(who, found.url, given)
        if self.as_owner_or_not(who, found, response) and response.json["status"] == "valid":
            self.proven[found.body["authorization"]] = (who if how == "good" else other).instance.instance_id

    @rule(number=index, which=index)
    def deactivate_authorization(self, number: int, which: int) -> None:
        found: Resource | None = self.one(self.authorizations, which)
        if found is not None:
            who = self.accounts[number % 2]
            if self.as_owner_or_not(who, found, self.post(who, found.url, {"status": "deactivated"})):
                self.proven.pop(found.url, None)

    @rule(
        number=index,
        which=index,
        how=st.sampled_from(REQUESTS),
        payload=junk,
    )
    def finalize(self, number: int, which: int, how: str, payload: object) -> None:
        found: Resource | None = self.one(self.orders, which)
        if found is None:
            return
        who = found.owner if how == "right" else self.accounts[number % 2]
        ordered = tuple(entry["value"] for entry in found.body["identifiers"])
        generation = self.server.generations[ordered]
        given: object = {"csr": _requests(ordered, generation)[1]}
        if how == "names":
            given = {"csr": _requests((*ordered, "more.local"))[1]}
        elif how == "key":
            given = {"csr": b64(csr(*ordered, key=who.key)[1])}
        elif how == "junk":
            given = payload
        valid = all(self.path(url) in self.proven for url in found.body["authorizations"])
        response = self.post(who, f"{found.url}/finalize", given)
        if self.as_owner_or_not(who, found, response):
            body = response.json
            assert body["status"] == "valid"
            assert valid, "a certificate was issued for names that were not proven"
            assert how == "right"
            assert {self.path(url) for url in body["authorizations"]} <= self.proven.keys()
            chain = self.post(who, self.path(body["certificate"]))
            assert chain.status == 200, chain.text
            facts = {
                "chain": chain.text,
                "of": ordered,
                "key": generation,
                "instance": self.proven[self.path(body["authorizations"][0])],
            }
            self.certificates.append(Resource(who, self.path(body["certificate"]), facts))

    @rule(
        number=index,
        which=index,
        how=st.sampled_from(["account", "key", "junk"]),
        reason=reasons,
    )
    def revoke(self, number: int, which: int, how: str, reason: object) -> None:
        found: Resource | None = self.one(self.certificates, which)
        if found is None:
            return
        who = self.accounts[number % 2]
        der = x509.load_pem_x509_certificate(found.body["chain"].encode()).public_bytes(Encoding.DER)
        payload = {"certificate": b64(der[:-1] if how == "junk" else der)} | (
            {} if reason is None else {"reason": reason}
        )
        if how == "key":
            response = self.send("/acme/revoke-cert", payload, _requests(found.body["of"], found.body["key"])[0], None)
            if reason == 1:
                self.compromise(found)
        else:
            response = self.post(who, "/acme/revoke-cert", payload)
        if response.status == 200:
            assert how != "junk"
            assert reason in (None, 0, 1, 4)
            # Whatever names another account holds by iid-01; and only the key itself says that it is compromised.
            assert how == "key" or (who is found.owner and reason != 1)
            if reason != 4:
                self.forget(found)

    def compromise(self, certificate: Resource) -> None:
        """The certificate's key is never certified again: what is ordered next has another one."""
        names, generation = certificate.body["of"], certificate.body["key"]
        self.server.generations[names] = max(self.server.generations[names], generation + 1)

    def forget(self, certificate: Resource) -> None:
        """What the certificate's instance has proven for its names has ended."""
        for entry in self.authorizations:
            by_it = self.proven.get(entry.url) == certificate.body["instance"]
            if by_it and entry.body["identifier"]["value"] in certificate.body["of"]:
                del self.proven[entry.url]

    @rule(number=index, to=st.sampled_from(["new", "other", "own"]))
    def change_key(self, number: int, to: str) -> None:
        account = self.accounts[number % 2]
        other = self.accounts[(number + 1) % 2]
        key = {"new": Key(), "other": other.key, "own": account.key}[to]
        url = self.server.base + "/acme/key-change"
        first = b64(json.dumps({"alg": "ES256", "jwk": key.jwk, "url": url}).encode())
        second = b64(json.dumps({"account": self.server.base + account.url, "oldKey": account.key.jwk}).encode())
        inner = {"protected": first, "payload": second, "signature": b64(key.sign(f"{first}.{second}".encode()))}
        response = self.post(account, "/acme/key-change", inner)
        if response.status == 200:
            assert to == "new"
            account.key = key

    @rule(number=index, which=index)
    def renewal_information(self, number: int, which: int) -> None:
        found: Resource | None = self.one(self.certificates, which)
        serial = "AQ" if found is None or number == 0 else found.url.rpartition("/")[2]
        response = self.server.request("GET", f"/acme/renewal-info/{serial}.{serial}")
        assert response.status in (400, 404), response.text

    @rule(
        number=index,
        path=st.sampled_from(["/acme/new-order", "/acme/new-account", "/acme/revoke-cert", "/acme/order/x", "/acme/x"]),
        change=st.sampled_from(["nonce", "spent", "url", "alg", "kid", "both", "none", "crit", "key"]),
        payload=junk,
    )
    def wrong_request(self, number: int, path: str, change: str, payload: object) -> None:
        account = self.accounts[number % 2]
        changes: dict[str, dict[str, Any]] = {
            "nonce": {"nonce": "A" * 50},
            "spent": {"nonce": self.spent},
            "url": {"url": self.server.base + "/acme/key-change"},
            "alg": {"alg": "none"},
            "kid": {"kid": self.server.base + "/acme/account/unknown"},
            "both": {"jwk": account.key.jwk},
            "none": {"kid": None},
            "crit": {"crit": ["b64"], "b64": False},
            "key": {},
        }
        key = Key() if change == "key" else account.key
        response = self.send(path, payload, key, account.url, changes[change])
        assert response.status >= 400

    def teardown(self) -> None:
        """An order that is valid has a certificate; nothing was issued that was not learned here."""
        for entry in self.orders:
            if not entry.owner.active:
                continue
            response = self.post(entry.owner, entry.url)
            assert response.status == 200, response.text
            body = response.json
            issued = {certificate.url for certificate in self.certificates}
            assert (body["status"] == "valid") == ("certificate" in body)
            assert "certificate" not in body or self.path(body["certificate"]) in issued
