"""How names are proven to the server under test."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import requests
from conformance.answers import Body
from conformance.jose import Key, b64


def key_authorization(challenge: Body, key: Key) -> str:
    """The key authorization of a challenge (RFC 8555 section 8.1)."""
    return f"{challenge['token']}.{key.thumbprint}"


def record(challenge: Body, key: Key) -> str:
    """What a dns-01 TXT record holds (RFC 8555 section 8.4)."""
    return b64(hashlib.sha256(key_authorization(challenge, key).encode()).digest())


class AlwaysValid:
    """For a server that believes every answer, such as Pebble with PEBBLE_VA_ALWAYS_VALID=1."""

    def choose(self, authorization: Body) -> Body | None:
        """The first challenge."""
        found: list[Body] = authorization["challenges"]
        return found[0] if found else None

    def prepare(self, _authorization: Body, _challenge: Body, _key: Key) -> object:
        """Nothing is to be done; the answer is an empty object."""
        return {}


class Challtestsrv:
    """pebble-challtestsrv answers for the names; it is told what over its management interface.

    :param url: the management interface's URL.
    """

    TYPES = ("http-01", "dns-01", "tls-alpn-01")
    """In the order of preference. Its tls-alpn-01 knows names only, no addresses."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.session = requests.Session()
        self.session.trust_env = False

    def tell(self, command: str, **members: object) -> Any:
        """POST a command; the answer's JSON if it has any."""
        response = self.session.post(f"{self.url}/{command}", json=members, timeout=10)
        assert response.status_code == 200, f"pebble-challtestsrv refused {command}: {response.text}"
        return response.json() if response.content else None

    def choose(self, authorization: Body) -> Body | None:
        """The first challenge, in the order of the types above."""
        of_type = {challenge["type"]: challenge for challenge in authorization["challenges"]}
        return next((of_type[kind] for kind in self.TYPES if kind in of_type), None)

    def prepare(self, authorization: Body, challenge: Body, key: Key) -> object:
        """Have the proof served; the answer is an empty object (RFC 8555 section 7.5.1)."""
        name = authorization["identifier"]["value"]
        if challenge["type"] == "http-01":
            self.tell("add-http01", token=challenge["token"], content=key_authorization(challenge, key))
        elif challenge["type"] == "dns-01":
            self.tell("set-txt", host=f"_acme-challenge.{name}.", value=record(challenge, key))
        else:
            self.tell("add-tlsalpn01", host=name, content=key_authorization(challenge, key))
        return {}


def account_label(account_url: str) -> str:
    """The label that dns-account-01 puts before _acme-challenge: of the account's URL, ten octets in base32."""
    return "_" + base64.b32encode(hashlib.sha256(account_url.encode()).digest()[:10]).decode().lower()
