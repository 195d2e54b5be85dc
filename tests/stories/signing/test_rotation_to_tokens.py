"""Clients renew while the issuer's key goes from a file to a token, and from there to another token."""

from __future__ import annotations

from pathlib import Path

import pytest
from pki import rotation_load
from signing.softhsm import SoftHSM

pytestmark = pytest.mark.waits

CLIENTS = 25


def test_clients_renew_from_a_file_to_a_token_and_to_another(token: SoftHSM, tmp_path: Path) -> None:
    """The clients verify each chain, and the witness each list and OCSP answer, of the former issuers too."""
    token.add_token("second")
    places = [token.place("object=issuing"), token.place("object=issuing", token="second")]
    load = rotation_load.run(tmp_path, CLIENTS, [("--key", str(place), "--generate") for place in places])
    rotation_load.check(load, CLIENTS)
    assert len(load.issuers) == 3
    # A client would have come again: the server says in its log that a signature failed.
    assert [line for line in load.log if "gives no signature" in line or "Traceback" in line] == []
