from __future__ import annotations

import json
import re

import pytest

from acme_iid_client.renewal.log import Journal


def test_a_line_stays_one_line_whatever_is_in_it(capfd: pytest.CaptureFixture[str]) -> None:
    Journal(as_json=False).error("failed", "the CA said: no\nINFO: 2026/01/01 00:00:00 certificate renewed\x1b[2J")
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"ERROR: \d{4}/\d\d/\d\d \d\d:\d\d:\d\d the CA said: no INFO: [^\n]*renewed\?\[2J\n", err)


def test_json_goes_to_stdout_with_the_facts(capfd: pytest.CaptureFixture[str]) -> None:
    Journal(as_json=True).info("renewed", "renewed\n", certificate="foo.crt")
    out, err = capfd.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    said = json.loads(out)
    assert (said["level"], said["event"], said["certificate"]) == ("info", "renewed", "foo.crt")
