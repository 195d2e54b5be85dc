"""Where the log goes: the journal's stream, its priorities, and what nobody caught."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from acme_iid.telemetry.logs import is_journal, priority

PROGRAM = """
import logging, os, sys, threading, warnings
from acme_iid.telemetry import logs
if "journal" in sys.argv:
    status = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
logs.set_up(sys.argv[1], sys.argv[2])
logging.getLogger("acme_iid.some").debug("ours, debug")
logging.getLogger("acme_iid.some").error("ours, error")
logging.getLogger("urllib3").debug("a library's, debug: https://u:hunter2@h/")
logging.getLogger("urllib3").warning("a library's, warning: https://u:hunter2@h/")
warnings.warn("a warning with password=hunter2")
def fail():
    raise ValueError("a thread's: postgresql://u:hunter2@h/d")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise ValueError("at the end: postgresql://u:hunter2@h/d")
"""


def run(*arguments: str) -> list[str]:
    """What a program writes to standard error that logs in its ways."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    return done.stderr.splitlines()


@pytest.mark.parametrize("level", ["debug", "warning"])
def test_whatever_is_written_has_the_one_form(level: str) -> None:
    lines = [json.loads(line) for line in run("json", level)]
    said = [(line["level"], line["message"].partition(":")[0]) for line in lines if line["logger"] != "py.warnings"]
    expected = [
        ("error", "ours, error"),
        ("warning", "a library's, warning"),
        ("error", "unexpected failure, a thread ends"),
        ("critical", "unexpected failure, the process ends"),
    ]
    assert said == ([("debug", "ours, debug")] if level == "debug" else []) + expected
    assert "hunter2" not in json.dumps(lines)


def test_under_the_journal_each_line_of_a_traceback_has_the_priority() -> None:
    lines = run("text", "info", "journal")
    assert all(re.match("<[2-7]>", line) for line in lines)
    assert sum(line.startswith("<2>\t") for line in lines) > 2
    assert "hunter2" not in "\n".join(lines)


def test_priorities_are_those_of_syslog() -> None:
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    assert [priority(level) for level in levels] == [7, 6, 4, 3, 2]


def test_only_the_named_file_is_the_journals_stream(tmp_path: Path) -> None:
    file = tmp_path / "stream"
    file.touch()
    descriptor = os.open(file, os.O_RDONLY)
    status = os.fstat(descriptor)
    try:
        assert is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, descriptor)
        for other in (f"{status.st_dev}:{status.st_ino + 1}", f"{status.st_dev + 1}:{status.st_ino}", "", "x", "1:"):
            assert not is_journal({"JOURNAL_STREAM": other}, descriptor)
        assert not is_journal({}, descriptor)
    finally:
        os.close(descriptor)
    assert not is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, descriptor)
