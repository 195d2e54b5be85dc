"""A server says in its log that others which share its store run with another ca.toml."""

from __future__ import annotations

import time

import pytest
from writing import put

from acme_iid.authority import Authority
from acme_iid.operations.presence import Presence
from acme_iid.store import servers
from acme_iid.store.servers import Server

TURNS = 6


def test_another_configuration_is_said_once_if_it_lasts(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    presence = Presence(authority, authority.database)
    now = int(time.time())
    other = Server("other", "0.1.0", "s", "bb" * 32, (), now, now)
    for _ in range(TURNS - 1):
        put(authority.database, *servers.write(other))
        presence.turn()
    # A reload takes a while on all servers.
    assert caplog.messages == []
    for _ in range(3):
        put(authority.database, *servers.write(other))
        presence.turn()
    (said,) = caplog.messages
    assert "Servers run with different ca.toml" in said
    assert "bbbbbbbbbbbb (1)" in said
    put(authority.database, servers.remove("other"))
    presence.turn()
    assert caplog.messages[1:] == ["All servers run with the same ca.toml again"]
