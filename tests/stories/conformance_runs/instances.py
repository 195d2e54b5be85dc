"""How the suite proves names to our server as instances do: by iid-01, with an instance for each account."""

from __future__ import annotations

import json
from pathlib import Path

from conformance.answers import Body
from conformance.jose import Key

ANSWERS = "answers.json"
"""The file, in the folder that the suite runs in, with a list of answers: one of each instance that there may be."""


class Instances:
    """Answers iid-01 with a document of the account's own instance."""

    def __init__(self) -> None:
        self.unused: list[Body] = json.loads(Path(ANSWERS).read_text())
        self.answers: dict[str, Body] = {}

    def choose(self, authorization: Body) -> Body | None:
        """The iid-01 challenge."""
        return next((entry for entry in authorization["challenges"] if entry["type"] == "iid-01"), None)

    def prepare(self, _authorization: Body, _challenge: Body, key: Key) -> object:
        """Nothing is to be put in place; the answer is the document."""
        if key.thumbprint not in self.answers:
            self.answers[key.thumbprint] = self.unused.pop()
        return self.answers[key.thumbprint]


def solver() -> Instances:
    """What ``--acme-solver`` names."""
    return Instances()
