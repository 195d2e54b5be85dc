"""Fifty clients renew certificates of a minute for a quarter of an hour, through three rotations."""

from __future__ import annotations

from pathlib import Path

from pki import rotation_load

CLIENTS = 50


def test_fifty_clients_renew_through_three_rotations(tmp_path: Path) -> None:
    rotation_load.check(rotation_load.run(tmp_path, CLIENTS, rotations=3 * [()], seconds=200), CLIENTS)
