"""Whoever is refused again and again is locked out, and nobody else is; one caller does not keep others waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from operators import ROOT, Asked, Steered, User, role_table
from running import CA
from strangers import Ground

from acme_iid.admin.limits import AT_ONCE, REFUSALS

READ: Asked = ("GET", "/instances", None)
TOO_MUCH: Asked = ("POST", "/eab", {})
WRONG: Asked = ("GET", "/instances?nonsense=1", None)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, open_ground: Ground) -> Iterator[Steered]:
    """A server with several viewers; each test has one of its own."""
    ca = CA(tmp_path_factory.mktemp("limited") / "ca")
    ca.init(in_a_file=True)
    steered = Steered(ca, open_ground.own / "limited.sock")
    steered.configure(role_table("viewer", users=["games", "bin", "sys", "man"]))
    steered.start()
    yield steered
    ca.stop()


@pytest.mark.parametrize(
    ("user", "asked"),
    [pytest.param("games", TOO_MUCH, id="by role"), pytest.param("bin", WRONG, id="by what is asked"),
     pytest.param("nobody", READ, id="a stranger")],
)  # fmt: skip
def test_whoever_is_refused_often_is_locked_out_alone(limited: Steered, user: str, asked: Asked) -> None:
    answers = User(user).ask(limited.socket, *[asked] * REFUSALS, READ, READ)
    assert all(answer.status in (400, 403) for answer in answers[:REFUSALS])
    for answer in answers[REFUSALS:]:
        assert answer.status == 429
        assert answer.json["type"].endswith(":tooMany")
        assert 0 < int(answer.headers["Retry-After"]) <= 61
    # On another connection too, and for nobody else.
    assert User(user).get(limited.socket).status == 429
    assert User("sys").get(limited.socket).status == 200
    limited.ca.until_logged(f"uid {User(user).who()['user']} is locked out for 60 s after many refusals")


def test_what_is_not_there_locks_nobody_out(limited: Steered) -> None:
    answers = User("man").ask(limited.socket, *[("GET", "/instances/i-05e360db6e50b5eda", None)] * (REFUSALS + 1))
    assert {answer.status for answer in answers} == {404}


def test_root_is_not_locked_out(limited: Steered) -> None:
    answers = ROOT.ask(limited.socket, *[WRONG] * (REFUSALS + 1), READ)
    assert answers[-1].status == 200


def test_a_caller_who_asks_too_fast_is_told_to_wait(limited: Steered) -> None:
    answers = User("sys").ask(limited.socket, *[("GET", "/tasks", None)] * (AT_ONCE * 3))
    assert {answer.status for answer in answers[: AT_ONCE // 2]} == {200}
    refused = [answer for answer in answers if answer.status == 429]
    assert refused, "six hundred requests on one connection were all answered"
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert User("man").get(limited.socket).status == 200
