"""A token that hangs for half a minute under load: others are answered as ever, and orders wait and go on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from backing import check_whole
from pki import http_status
from pki.rotating import until
from ports import free_port
from running import CA
from signing.softhsm import Shim, SoftHSM
from signing.stalled_load import LOOKS, Load, Timed, p99

from acme_iid.signing.asker import ANSWER_SECONDS
from acme_iid.store.database import open_store

pytestmark = pytest.mark.waits

THREADS = 4
USUAL_SECONDS, STALL_SECONDS = 20, 30


def by_kind(answers: list[Timed]) -> dict[str, list[Timed]]:
    found: dict[str, list[Timed]] = defaultdict(list)
    for answer in answers:
        found[answer.what].append(answer)
    return found


@pytest.fixture
def ca(token: SoftHSM, shim: Shim, tmp_path: Path) -> Iterator[CA]:
    """A CA whose issuer's key is in the token that hangs."""
    made = CA(tmp_path / "ca")
    made.init(made_with=("--key", str(token.place(module=shim.module)), "--generate"))
    http_status.turn_on(made, free_port())
    made.start()
    yield made
    if made.process is not None:
        made.kill()


def test_a_token_that_hangs_for_30_seconds_delays_nobody_else(ca: CA, shim: Shim) -> None:
    load = Load(ca, THREADS)
    begun = time.monotonic()
    load.start()
    time.sleep(USUAL_SECONDS)
    stalled, issued = time.monotonic(), len(load.orders)
    assert issued > 20
    shim.fail("stall")
    time.sleep(STALL_SECONDS)
    while_stalled = len(load.orders) - issued
    shim.recover()
    recovered = time.monotonic()
    until(lambda: len(load.orders) > issued + while_stalled + 5 * THREADS or bool(load.faults))
    load.end()
    assert load.faults == []
    # Those that were being signed when it began; a thread of the token's process each.
    assert while_stalled <= 2 * THREADS

    usual, meanwhile = by_kind(load.between(begun, stalled)), by_kind(load.between(stalled, recovered))
    assert set(meanwhile) >= {"finalize", *LOOKS}
    refused = [answer for answer in load.answers if answer.status >= 400 and answer.what != "/health"]
    assert {(answer.what, answer.status) for answer in refused} == {("finalize", 503)}
    for what, answers in meanwhile.items():
        slowest, bound = max(answer.seconds for answer in answers), p99(usual[what]) + ANSWER_SECONDS
        print(f"{what}: p99 {1000 * p99(usual[what]):.0f} ms, slowest while it hung {1000 * slowest:.0f} ms")
        assert slowest <= bound, what

    # Nothing lost, nothing doubled, no order that waits.
    store = open_store(ca.store_url)
    check_whole(store)
    names = [row["value"] for row in store.rows("SELECT names AS value FROM certificates")]
    assert sorted(names) == sorted(load.orders)
    assert store.rows("SELECT count(*) AS n FROM orders WHERE issued_at IS NULL")[0]["n"] == 0
    store.close()
    assert ca.stop() == 0
