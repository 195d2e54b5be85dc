"""Which answers end their connection, by what each worker has to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from acme_iid.connections import Connections, Loads


@pytest.mark.parametrize(
    ("mine", "others", "uneven"),
    [
        (6, [2], True),
        (2, [6], False),
        (5, [3], True),
        (4.5, [3.5], False),
        (4, [3], False),
        (60, [50], True),
        (53, [50], False),
        (5, [4, 5, 1], True),
        (5, [4, 5, 4], False),
        (1.2, [None], False),  # a worker that has nothing to do says nothing
        (3, [None], True),
        (128, [], False),
    ],
)
def test_a_worker_has_too_much_where_another_has_less_by_more_than_a_connection(
    mine: float, others: list[float | None], uneven: bool
) -> None:
    loads = Loads(1 + len(others))
    loads.tell(0, mine)
    for worker, load in enumerate(others, start=1):
        if load is not None:
            loads.tell(worker, load)
    assert loads.are_uneven(0, mine) is uneven


def answers(connections: Connections, count: int) -> list[bool]:
    """Whether each of so many answers, one after another, ends its connection."""
    found: list[bool] = []

    def start_response(_status: str, headers: list[tuple[str, str]], *_more: Any) -> None:
        found.append(("Connection", "close") in headers)

    for _ in range(count):
        connections({}, start_response)
    return found


def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b""]


def test_one_request_at_a_time_keeps_its_connection_whatever_others_do() -> None:
    loads = Loads(2)
    assert not any(answers(Connections(app, loads, 0), 500))


def test_what_is_uneven_costs_one_connection_in_many_requests() -> None:
    loads = Loads(2)
    connections: Connections

    def busy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        depth = environ.get("depth", 0)
        if depth < 4:  # four further requests are being answered meanwhile
            connections({"depth": depth + 1}, lambda *_: None)
        return app(environ, start_response)

    connections = Connections(busy, loads, 0)
    ended = answers(connections, 640)
    assert sum(ended) == 10  # 50 windows of 64 requests, a fifth of which end with one that was counted here
    connections.end()
    assert all(answers(connections, 10))
