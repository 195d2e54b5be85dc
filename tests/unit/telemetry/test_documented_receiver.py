"""The receiver of a hook on the page on events elsewhere believes what the server sends, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from pages import blocks

from acme_iid.telemetry import hook

KEY, BODY = b"0123456789abcdef", b'{"seq":1}\n'


@pytest.fixture
def is_genuine() -> Callable[[str, bytes, bytes], bool]:
    """The function on the page."""
    (block,) = (block for block in blocks("python") if block.name == "hook-receiver")
    there: dict[str, Any] = {}
    exec(block.text, there)  # noqa: S102 - the page is ours
    found: Callable[[str, bytes, bytes], bool] = there["is_genuine"]
    return found


def test_the_receiver_on_the_page_believes_what_a_hook_sends(is_genuine: Callable[[str, bytes, bytes], bool]) -> None:
    assert is_genuine(hook.signature(KEY, int(time.time()), BODY), BODY, KEY)


def test_the_receiver_on_the_page_believes_nothing_else(is_genuine: Callable[[str, bytes, bytes], bool]) -> None:
    now = int(time.time())
    sent = hook.signature(KEY, now, BODY)
    assert not is_genuine(sent, BODY + b" ", KEY)
    assert not is_genuine(sent, BODY, KEY + b"0")
    assert not is_genuine(sent.replace(f"t={now}", f"t={now + 1}"), BODY, KEY)
    assert not is_genuine(hook.signature(KEY, now - 3600, BODY), BODY, KEY)
