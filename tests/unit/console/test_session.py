"""The link is good once and for ten minutes, and the session for twelve hours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from acme_iid.console.session import LINK_SECONDS, SESSION_SECONDS, Session


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock) -> Session:
    return Session(clock)


def test_the_links_token_lets_one_in_and_no_second_one(session: Session) -> None:
    cookie = session.enter(session.token)
    assert cookie is not None
    assert session.admits(cookie)
    assert session.enter(session.token) is None
    assert session.admits(cookie)


def test_of_many_who_follow_the_link_at_once_one_enters(session: Session) -> None:
    with ThreadPoolExecutor(16) as threads:
        cookies = list(threads.map(session.enter, [session.token] * 200))
    assert len([cookie for cookie in cookies if cookie is not None]) == 1


@pytest.mark.parametrize("token", ["", "x", "é", "\x00", "a" * 100_000])
def test_another_token_lets_nobody_in_and_uses_nothing_up(session: Session, token: str) -> None:
    assert session.enter(token) is None
    assert session.enter(session.token[:-1]) is None
    assert session.enter(session.token) is not None


def test_the_link_is_good_for_ten_minutes(session: Session, clock: Clock) -> None:
    clock.at += LINK_SECONDS - 1
    again = Session(clock)
    assert session.enter(session.token) is not None
    clock.at += LINK_SECONDS
    assert again.enter(again.token) is None


def test_the_session_ends_after_twelve_hours(session: Session, clock: Clock) -> None:
    cookie = session.enter(session.token)
    clock.at += SESSION_SECONDS - 1
    assert session.admits(cookie)
    clock.at += 1
    assert not session.admits(cookie)


def test_nobody_is_admitted_before_the_link_was_used(session: Session) -> None:
    assert not session.admits(None)
    assert not session.admits("")
    assert not session.admits(session.token)


def test_no_two_sessions_share_a_secret_and_each_has_256_bits() -> None:
    sessions = [Session() for _ in range(50)]
    secrets = [secret for one in sessions for secret in (one.token, one.folder, one.enter(one.token))]
    assert len(set(secrets)) == 150
    assert min(len(one.token) for one in sessions) * 6 >= 256
