"""Clients that ask and ask and never read: their connections end, and the server is as before."""

from __future__ import annotations

from crowds import Crowd, sockets, until_sockets
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws

ASKED = b"GET /acme/directory HTTP/1.1\r\nHost: ca\r\n\r\n" * 500


def test_who_takes_nothing_of_the_answers_is_given_up(own_ca: CA) -> None:
    own_ca.start()
    before = sockets(own_ca)
    with Crowd(own_ca, 50) as crowd:
        for stream in crowd.streams:
            stream.settimeout(0.2)
            try:
                for _ in range(200):
                    stream.sendall(ASKED)
            except OSError:
                continue  # its answers fill all buffers, and the server reads no more
        assert sockets(own_ca) >= before + 50
        assert own_ca.account().obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).chain
        until_sockets(own_ca, before, 120)
    assert "Traceback" not in "".join(own_ca.log)
