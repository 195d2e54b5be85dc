"""Who is at the other end of a unix socket: what the kernel has kept of them, however many groups that are."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess

import pytest

from acme_iid.admin.identity import Peer, Roles, peer_of
from acme_iid.admin.roles import Role
from acme_iid.config.admin_settings import RoleSettings

CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"


class Machine:
    """The names of a machine with two users and two groups."""

    def user(self, uid: int) -> str | None:
        return {1000: "alice", 1001: "bob"}.get(uid)

    def group(self, name: str) -> int | None:
        return {"desk": 2000, "ops": 2001}.get(name)


TABLES = (
    RoleSettings("viewer", users=("alice", "bob", "1002")),
    RoleSettings("helpdesk", groups=("desk", "no such group")),
    RoleSettings("operator", users=("bob",), certificates=("Carol",)),
)


def role(uid: int, *gids: int) -> Role | None:
    return Roles(TABLES, Machine(), "host").caller(Peer("socket", uid, frozenset(gids))).role


@pytest.mark.parametrize(
    ("uid", "gids", "expected"),
    [
        (1000, (), Role.VIEWER),
        (1000, (2000,), Role.HELPDESK),
        (1001, (2000,), Role.OPERATOR),
        (1002, (), None),
        (1002, (2000, 5), Role.HELPDESK),
        (1002, (2001,), None),
        (0, (), Role.ADMINISTRATOR),
        (os.geteuid(), (), Role.ADMINISTRATOR),
    ],
)
def test_the_highest_of_a_users_roles_counts(uid: int, gids: tuple[int, ...], expected: Role | None) -> None:
    assert role(uid, *gids) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("Carol", Role.OPERATOR), ("carol", None), ("alice", None), ("root", None), (None, None)]
)
def test_certificates_and_users_are_told_apart(name: str | None, expected: Role | None) -> None:
    caller = Roles(TABLES, Machine(), "host").caller(Peer("tls", name=name, fingerprint="ab", address="192.0.2.1"))
    assert (caller.role, caller.uid, caller.host) == (expected, None, "192.0.2.1")


def test_an_actor_is_one_line_whatever_a_name_has_in_it() -> None:
    caller = Roles((), Machine(), "host").caller(Peer("tls", name="a\nb\u202e" + "c" * 100, address="192.0.2.1"))
    assert caller.actor("why").facts() == {
        "via": "tls", "user": "a?b?" + "c" * 60, "host": "192.0.2.1", "reason": "why",
    }  # fmt: skip


@pytest.mark.parametrize("number", [0, 1, 64, 65, 300, 5000])
def test_all_groups_of_a_user_are_seen(number: int) -> None:
    groups = frozenset(range(10_000, 10_000 + number))
    # In the abstract namespace, which any user reaches.
    name = f"\0acme-iid-test-{os.getpid()}-{number}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        program = CONNECT.replace("sys.argv[1]", repr(name))
        with subprocess.Popen(
            ["/usr/bin/python3", "-c", program], cwd="/", user=1234, group=4321, extra_groups=sorted(groups)
        ) as connecting:
            peer = asyncio.run(connected(listener))
            connecting.wait(30)
    assert (peer.uid, peer.gids) == (1234, groups | {4321})


class Kept(asyncio.Protocol):
    """Keeps the connection that was made."""

    def __init__(self) -> None:
        self.came: asyncio.Future[asyncio.BaseTransport] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.came.set_result(transport)


async def connected(listener: socket.socket) -> Peer:
    """Whoever connects next."""
    kept = Kept()
    server = await asyncio.get_running_loop().create_unix_server(lambda: kept, sock=listener)
    transport = await asyncio.wait_for(kept.came, 30)
    peer = peer_of(transport, tuple)
    transport.close()
    server.close()
    return peer


def test_a_connection_without_tls_over_tcp_is_nobody() -> None:
    async def look() -> None:
        kept = Kept()
        server = await asyncio.get_running_loop().create_server(lambda: kept, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = await kept.came
        with pytest.raises(ConnectionError):
            peer_of(transport, tuple)
        transport.close()
        writer.close()
        server.close()

    asyncio.run(look())


def test_nobody_is_behind_a_request_without_a_connection() -> None:
    with pytest.raises(ConnectionError):
        peer_of(None, tuple)
