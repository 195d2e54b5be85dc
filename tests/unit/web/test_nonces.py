"""Nonces: made and spent in agreement by processes that share a key, for a while, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.store.nonces import NonceFile
from acme_iid.web.nonces import LIFETIME, Nonces

NOW = 1_800_000_000
KEY = bytes(32)


@pytest.fixture
def nonces(tmp_path: Path) -> Nonces:
    return Nonces(KEY, NonceFile(tmp_path / "nonces"))


def test_a_nonce_is_spent_once(nonces: Nonces) -> None:
    nonce = nonces.issue(NOW)
    assert nonces.spend(nonce, NOW)
    assert not nonces.spend(nonce, NOW)


def test_another_process_with_the_same_key_agrees(nonces: Nonces, tmp_path: Path) -> None:
    other = Nonces(KEY, NonceFile(tmp_path / "nonces"))
    nonce = other.issue(NOW)
    assert nonces.spend(nonce, NOW)
    assert not other.spend(nonce, NOW)


def test_a_nonce_made_under_another_key_is_none(nonces: Nonces, tmp_path: Path) -> None:
    stranger = Nonces(bytes([1]) * 32, NonceFile(tmp_path / "nonces"))
    assert not nonces.spend(stranger.issue(NOW), NOW)


def test_a_nonce_runs_out(nonces: Nonces) -> None:
    assert nonces.spend(nonces.issue(NOW), NOW + LIFETIME - 1)
    assert not nonces.spend(nonces.issue(NOW), NOW + LIFETIME)


def test_a_clock_that_is_set_back_refuses_nobody(nonces: Nonces) -> None:
    assert nonces.spend(nonces.issue(NOW + 3600), NOW)


@pytest.mark.parametrize("text", ["", "A", "AAAA", "=", "\u00fc" * 50, "A" * 50, "-" * 49, "A" * 5000])
def test_what_is_no_nonce_is_refused(nonces: Nonces, text: str) -> None:
    assert not nonces.spend(text, NOW)
