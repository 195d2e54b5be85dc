"""Whatever is sent, the server does not fail: it does an act, or refuses it by a problem document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import issued
import pytest
from asking import Api, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from issued import OWNER, issue, vm

from acme_iid.admin.acts import Act
from acme_iid.admin.roles import Role
from acme_iid.admin.table import ACTS

NOW = 1_800_000_000
READS = [act for act in ACTS if not act.is_change and act.role is not Role.ADMINISTRATOR]
CHANGES = [act for act in ACTS if act.is_change]
WORDS = st.one_of(
    st.text(max_size=40),
    st.sampled_from([
        "1", "0", "-1", "true", "false", "1h", "0s", "2030-01-02", "0001-01-01T00:00:00+23:59", "9999-12-31",
        "9999-12-31T23:59:59-23:59", "999999999999.1", "0.a", "a", "t", OWNER, vm(1), "aws", "*.local", "a.local",
        "192.0.2.1", "::1", "9" * 18, "9" * 19, "\x00", "\ud7ff", "%00", "..", "n" * 43, f"1:{'f' * 64}", "b-1",
        "'; DROP TABLE events; --", "\u202e", "i-00000000000000001", "keyCompromise", "gcp:1:2",
    ]),
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, pattern: Path) -> Iterator[Api]:
    """One store for all that is sent."""
    folder = tmp_path_factory.mktemp("anything")
    with issued.prepared(f"sqlite:{folder / 'store.sqlite3'}", NOW - 3600) as database:
        for number in range(3):
            issue(database, f"n{number}.local", at=NOW - 1800, instance=vm(number), der=issued.leaf())
        made = Api(pattern, database, NOW)
        yield made
        made.dispatcher.close()


def names(act: Act[Any]) -> list[str]:
    return [entry.name for entry in act.every_parameter() if entry.name not in act.in_path]


def filled(act: Act[Any], word: str) -> str:
    return "/".join(word if part.startswith("{") else part for part in act.path.split("/"))


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_query_makes_the_server_fail(api: Api, data: st.DataObject) -> None:
    act = data.draw(st.sampled_from(READS))
    known = st.sampled_from([*names(act), "no"])
    pairs = data.draw(st.lists(st.tuples(known, WORDS), max_size=4, unique_by=lambda pair: pair[0]))
    query = data.draw(st.one_of(st.just(urlencode(pairs, errors="replace")), st.text(max_size=60)))
    path = filled(act, data.draw(st.one_of(WORDS, st.sampled_from(["a", "1", vm(1)]))))
    assert api.send(request("GET", path, query)).status < 500


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_body_makes_the_server_fail(api: Api, data: st.DataObject) -> None:
    act = data.draw(st.sampled_from(CHANGES))
    objects = st.dictionaries(st.sampled_from([*names(act), "no"]), JSON, max_size=5).map(
        lambda content: json.dumps(content).encode()
    )
    body = data.draw(
        st.one_of(objects, JSON.map(lambda content: json.dumps(content).encode()), st.binary(max_size=200))
    )
    path = filled(act, data.draw(st.one_of(WORDS, st.sampled_from(["a", "1", vm(1)]))))
    status = api.send(request("POST", path, body=body)).status
    # No server can be asked here.
    assert status < 500 or (act.name, status) == ("server.reload", 503)


@given(method=st.text(max_size=8), path=st.text(max_size=40), query=st.text(max_size=40), body=st.binary(max_size=64))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_makes_the_server_fail(api: Api, method: str, path: str, query: str, body: bytes) -> None:
    for sent in (path, f"/{path}", f"/instances/{path}", quote(path)):
        assert api.send(request(method, sent, query, body)).status < 500
