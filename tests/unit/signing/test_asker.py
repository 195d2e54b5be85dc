"""One process answers many threads, and each of its failures ends in an error and a new process."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acme_iid.errors import SignerError
from acme_iid.signing.asker import ANSWER_SECONDS, START_SECONDS, Asker

ECHO = """
import json, os, sys, time
for line in sys.stdin:
    question = json.loads(line)
    time.sleep(question.get("seconds", 0))
    if "status" in question:
        os._exit(question["status"])
    for text in question.get("before", ()):
        print(text, flush=True)
    print(json.dumps({"id": question["id"], "text": question.get("text"), "process": os.getpid()}), flush=True)
"""

Make = Callable[..., Asker]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes askers of a program, which end with the test."""
    made: list[Asker] = []

    def asker(
        source: str = ECHO, answer_seconds: float = ANSWER_SECONDS, start_seconds: float = START_SECONDS
    ) -> Asker:
        (tmp_path / "program.py").write_text(source)
        command = [sys.executable, str(tmp_path / "program.py")]
        made.append(Asker("the signer", command, answer_seconds=answer_seconds, start_seconds=start_seconds))
        return made[-1]

    yield asker
    for one in made:
        one.close()


def test_a_process_that_ends_is_replaced(make: Make) -> None:
    asker = make()
    before = asker.ask({})["process"]
    with pytest.raises(SignerError, match="the signer gives no signature: it ended with status 7"):
        asker.ask({"status": 7})
    assert asker.ask({})["process"] != before


def test_an_answer_that_is_late_belongs_to_nobody(make: Make) -> None:
    """A process that is still starting lives on, and answers the question of before while another one waits."""
    asker = make(answer_seconds=0.5, start_seconds=30)
    with pytest.raises(SignerError, match="status 7"):
        asker.ask({"status": 7})
    with pytest.raises(SignerError, match="no answer in time"):
        asker.ask({"text": "before", "seconds": 1.5})
    deadline = time.monotonic() + 20
    while True:
        try:
            answer = asker.ask({"text": "now"})
            break
        except SignerError:
            assert time.monotonic() < deadline
    assert answer["text"] == "now"


def test_what_says_why_it_ends_is_quoted(make: Make) -> None:
    asker = make("""
import json, time
print(json.dumps({"fatal": "there is no \\x1b[1mtoken"}), flush=True)
time.sleep(60)
""")
    with pytest.raises(SignerError, match=r"gives no signature: there is no \\x1b\[1mtoken"):
        asker.ask({})


def test_a_process_that_is_ready_has_the_short_deadline(make: Make) -> None:
    asker = make(
        "import time\nprint('{\"ready\": true}', flush=True)\ntime.sleep(60)", answer_seconds=0.5, start_seconds=30
    )
    begin = time.monotonic()
    with pytest.raises(SignerError, match="no answer in time"):
        asker.ask({})
    assert time.monotonic() - begin < 10


def test_true_is_no_id(make: Make) -> None:
    asker = make("""
import sys, time
sys.stdin.readline()
print('{"id": true, "text": "wrong"}\\n{"id": 1.0, "text": "wrong"}\\n{"id": 1, "text": "right"}', flush=True)
time.sleep(60)
""")
    assert asker.ask({})["text"] == "right"


def test_lines_that_are_no_answers_are_borne_up_to_a_number(make: Make) -> None:
    asker = make()
    assert asker.ask({"before": ["banner", '{"id": 999}', '{"ready": 1}', '{"id": "1"}', ""] * 19})["text"] is None
    with pytest.raises(SignerError, match="more than 100 lines that answer nothing"):
        asker.ask({"before": ["banner"] * 101})


def test_a_message_that_nobody_reads_is_no_hindrance(make: Make) -> None:
    asker = make("import time; time.sleep(60)", answer_seconds=0.5, start_seconds=0.5)
    with pytest.raises(SignerError, match="no answer in time"):
        asker.ask({"text": "a" * 1_000_000})


def test_a_closed_asker_answers_nothing(make: Make) -> None:
    asker = make()
    asker.ask({})
    asker.close()
    with pytest.raises(SignerError, match="it is closed"):
        asker.ask({})


def test_without_file_descriptors_it_fails_and_later_it_does_not(make: Make) -> None:
    asker = make()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.open(os.devnull, os.O_RDONLY)
    os.close(next_one)
    # With one, with two and so on: the thread has two, a process six for a moment.
    for more in range(8):
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one + more, hard))
        try:
            with pytest.raises(SignerError, match="Too many open files"):
                asker.ask({})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    deadline = time.monotonic() + 60
    while True:
        try:
            asker.ask({})
            break
        except SignerError:
            assert time.monotonic() < deadline


def test_a_program_that_is_missing_is_named() -> None:
    asker = Asker("the signer", ["/nowhere/sign"])
    with pytest.raises(SignerError, match="/nowhere/sign cannot be started: No such file or directory"):
        asker.ask({})
    asker.close()
