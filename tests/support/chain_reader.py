"""A reader of the stream of events that knows rfc-notes/iid-01.md, "What is recorded", and nothing of our code."""

from __future__ import annotations

import hashlib
import json
from typing import Any

COLUMNS = ("seq", "at", "kind", "account_id", "instance_id", "cloud", "owner", "name", "detail")


class ChainReader:
    """Makes the hash of each event from its line and the hash before it.

    :ivar seq: the number of the last event.
    :ivar head: its hash.
    """

    def __init__(self, seq: int = 0, head: str = "0" * 64) -> None:
        self.seq = seq
        self.head = head

    def read(self, line: str) -> dict[str, Any]:
        """Take the next line; fails if it does not follow."""
        event: dict[str, Any] = json.loads(line)
        assert event["seq"] == self.seq + 1, f"event {event['seq']} after {self.seq}"
        listed = json.dumps([event[column] for column in COLUMNS], separators=(",", ":"), ensure_ascii=True)
        self.head = hashlib.sha256(f"{self.head}\n{listed}".encode("ascii")).hexdigest()
        assert event["hash"] == self.head, f"event {event['seq']} has another hash"
        self.seq = event["seq"]
        return event
