"""A record as a line: of one length, without line ends of others, and with the request's id."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest

from acme_iid.telemetry import request_ids
from acme_iid.telemetry.log_formats import FORMATS, Formatter

HOSTILE = 'a "b"\n2026-01-01T00:00:00Z certificate.issued name=evil.local\r\x1b[31m\u2028\x85\u202e\udcff'
"""What strangers may write into a name or a reason."""

Lines = Callable[..., str]


@pytest.fixture(params=FORMATS)
def name(request: pytest.FixtureRequest) -> str:
    """The name of a format."""
    return str(request.param)


@pytest.fixture
def formatter(name: str) -> Formatter:
    """The formatter of that name."""
    return FORMATS[name]()


def one_way(error: Exception, depth: int) -> None:
    """Raise an error from so far down."""
    if depth == 0:
        raise error
    other_way(error, depth - 1)


def other_way(error: Exception, depth: int) -> None:
    """The same, so that no place is the same as the one above it."""
    one_way(error, max(0, depth - 1))


def raised(error: Exception, depth: int = 0) -> Exception:
    """The error as it is once it was raised."""
    with pytest.raises(type(error)) as caught:
        one_way(error, depth)
    return caught.value


def record(message: str, /, *arguments: object, error: Exception | None = None, **facts: object) -> logging.LogRecord:
    """A record of one of our loggers."""
    trace = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("acme_iid.acts", logging.INFO, "file", 1, message, arguments, trace)
    made.facts = facts
    return made


def test_nothing_in_a_value_makes_a_second_line(formatter: Formatter) -> None:
    line = formatter.format(record("said: %s", HOSTILE, name=HOSTILE, names=[HOSTILE], actor={"reason": HOSTILE}))
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_a_value_is_read_back_as_it_was(name: str) -> None:
    value = 'x = "y" z'
    line = FORMATS[name]().format(record("happened", reason=value, number=3, right=True, nothing=None))
    if name == "json":
        facts = json.loads(line)
        assert (facts["reason"], facts["number"], facts["right"]) == (value, 3, True)
    else:
        facts = dict(pair.partition("=")[::2] for pair in shlex.split(line) if "=" in pair)
        assert (facts["reason"], facts["number"], facts["right"]) == (value, "3", "true")
    assert "nothing" not in facts


def test_a_facts_name_is_one_word_whatever_a_provisioner_is_called(name: str) -> None:
    line = FORMATS[name]().format(record("refused", reasons={f'My "lab"=\u202e{HOSTILE}': "no rule"}))
    assert line.isprintable()
    if name != "json":
        assert "reasons.My__lab___a__b__2026-01-01T00_00_00Z_certificate.issued_name_evil.local" in line
        assert line.count("=") == (1 if name == "text" else 5)


def test_a_huge_text_of_an_error_takes_no_time(formatter: Formatter) -> None:
    error = raised(ValueError("a://b:" * 1_500_000))
    begun = time.process_time()
    formatter.format(record("unexpected failure", error=error))
    assert time.process_time() - begun < 6


def test_a_line_is_bounded_however_much_there_is_to_say(formatter: Formatter) -> None:
    much: dict[str, Any] = {f"fact{number}": "x" * 1000 for number in range(1000)}
    line = formatter.format(record("y" * 100_000, names=[f"{number}.local" for number in range(100_000)], **much))
    assert len(line) < 8000


def test_an_event_of_64_kb_is_one_bounded_line_with_a_mark(formatter: Formatter) -> None:
    names = [f"{'n' * 245}{number:03}.local" for number in range(256)]
    line = formatter.format(record("order.refused", names=names, reason="r" * 20_000))
    assert len(line) < 4000
    assert "…" in line or "\\u2026" in line


def test_a_secret_is_masked_wherever_it_stands(formatter: Formatter) -> None:
    url = "postgresql://u:hunter2@db/acme"
    error = raised(ValueError(f"cannot use {url}"))
    line = formatter.format(record("lost %s", url, error=error, place=url, places=[url], actor={"place": url}))
    assert "hunter2" not in line
    assert line.count("postgresql://u:***@db/acme") == 5


def test_a_secret_is_masked_before_a_value_is_cut(formatter: Formatter) -> None:
    text = "x" * 270 + " postgresql://user:hunter2-hunter2@db"
    assert "hunter2" not in formatter.format(record("lost", reason=text))


def test_a_traceback_is_one_record_and_quotes_no_evidence(name: str) -> None:
    evidence = "MIIB" + "x9Z" * 30
    error = raised(ValueError(f"{evidence}\n2026-01-01T00:00:00+0000 certificate.issued"))
    line = FORMATS[name]().format(record("unexpected failure", error=error))
    assert "test_log_formats.py" in line
    assert evidence not in line
    first, *further = line.split("\n")
    assert "unexpected failure" in first
    assert all(part.startswith("\t") and part[1:].isprintable() for part in further)
    assert (name == "text") == bool(further)


def test_the_end_of_a_very_long_traceback_is_kept(formatter: Formatter) -> None:
    line = formatter.format(record("unexpected failure", error=raised(ValueError("the last word"), 300)))
    assert "the last word" in line
    assert len(line) < 20_000


def test_a_request_has_its_id_in_its_lines_and_others_have_none(formatter: Formatter) -> None:
    def inside() -> tuple[str, str]:
        return request_ids.begin(), formatter.format(record("happened"))

    id_, line = Context().run(inside)
    assert id_ in line
    assert "request" not in formatter.format(record("happened"))
    assert id_ != Context().run(inside)[0]


def test_a_fact_does_not_take_the_place_of_what_every_line_has(name: str) -> None:
    line = FORMATS[name]().format(record("happened", message="forged", level="critical", time="never"))
    if name == "json":
        assert json.loads(line) | {"message_": "forged", "level_": "critical", "time_": "never"} == json.loads(line)
        assert json.loads(line)["message"] == "happened"
    if name == "logfmt":
        assert "level=info" in line
        assert "level_=critical" in line


def test_a_message_with_wrong_arguments_writes_nothing_of_them(capfd: pytest.CaptureFixture[str]) -> None:
    from acme_iid.telemetry.logs import Handler  # noqa: PLC0415 - the handler takes the standard error of now

    handler = Handler(journal=False)
    handler.setFormatter(FORMATS["text"]())
    handler.handle(record("%d of %d", "hunter2"))
    assert capfd.readouterr().err == ""
    handler.handle(record("%s", "fine"))
    assert capfd.readouterr().err.endswith("fine\n")
    assert sys.stderr is not None
