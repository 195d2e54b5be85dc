"""Fifty clients renew certificates of a minute while the intermediate is rotated; the soak does it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from pki import rotation_load

pytestmark = pytest.mark.waits

CLIENTS = 50


def test_fifty_clients_renew_through_a_rotation(tmp_path: Path) -> None:
    rotation_load.check(rotation_load.run(tmp_path, CLIENTS, rotations=[()]), CLIENTS)
