"""Secrets that a test hands in, and a search for them in all that was said afterwards."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import requests

CANARY = "Canary0f7d1e5cMustNotBeTold"
SHORTEST = 24
"""Characters of a secret that nobody would know by chance."""


@dataclass
class Told:
    """What was kept secret, and all that the CA said: answers with their headers, and errors of commands."""

    secrets: dict[str, str] = field(default_factory=lambda: {"the canary": CANARY})
    texts: list[str] = field(default_factory=list)

    def hide(self, what: str, secret: str) -> None:
        """Count something as a secret, from now on."""
        assert len(secret) >= SHORTEST
        self.secrets[what] = secret

    def hear(self, answered: requests.Response) -> requests.Response:
        """Keep an answer."""
        self.texts.append(f"{answered.headers}\n{answered.text}")
        return answered

    def given_away(self, text: str) -> list[str]:
        """The secrets that a text has: a part of one, or one in base64 wherever it begins in what was encoded."""
        found = []
        for what, secret in self.secrets.items():
            plain = secret.encode()
            encoded = [base64.b64encode(b"x" * shift + plain).decode()[4:-4] for shift in range(3)]
            urlsafe = [one.replace("+", "-").replace("/", "_") for one in encoded]
            parts = [secret[at : at + SHORTEST] for at in range(0, len(secret) - SHORTEST + 1, SHORTEST)]
            if any(part in text for part in (*parts, *encoded, *urlsafe)):
                found.append(what)
        return found
