"""The lines of a program that runs for months: for people, or one JSON object each for programs."""

from __future__ import annotations

import json
import sys
import threading
import time


class Journal:
    """Writes lines, from any thread.

    :param as_json: JSON to stdout, instead of text to stderr.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()

    def info(self, event: str, text: str, **facts: object) -> None:
        """Something went as it should.

        :param event: a word for programs.
        :param text: a sentence for people.
        :param facts: for programs, beside the sentence.
        """
        self._write("info", event, text, facts)

    def error(self, event: str, text: str, **facts: object) -> None:
        """Something did not, and will be tried again or needs a person."""
        self._write("error", event, text, facts)

    def _write(self, level: str, event: str, text: str, facts: dict[str, object]) -> None:
        now = time.time()
        if self._as_json:
            stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
            line = json.dumps({"time": stamp, "level": level, "event": event, "message": text, **facts})
        else:
            # A line stays a line, whatever a server sent: nobody can write another one into the log.
            flat = " ".join(text.split("\n"))
            shown = "".join(character if character.isprintable() else "?" for character in flat)
            line = f"{level.upper()}: {time.strftime('%Y/%m/%d %H:%M:%S', time.localtime(now))} {shown}"
        with self._lock:
            print(line, file=sys.stdout if self._as_json else sys.stderr, flush=True)
