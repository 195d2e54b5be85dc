"""Facts as they are counted: under labels that strangers cannot make."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import pytest

from acme_iid.store.chain import Event
from acme_iid.telemetry import counting, exposition, instruments

_processes = multiprocessing.get_context("fork")


def counted(folder: Path, facts: Sequence[Event]) -> list[str]:
    """The lines of a scrape after a process has counted facts, but for zeros."""

    def run() -> None:
        instruments.begin(folder, 0)
        counting.begin(["shop", "lab"])
        for fact in facts:
            counting.count(fact)

    process = _processes.Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    lines = exposition.page(folder, {})[0].decode().splitlines()
    return [line for line in lines if not line.startswith("#") and not line.endswith(" 0.0")]


def fact(kind: str, **detail: object) -> Event:
    return Event(kind, 0, detail=detail)


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        ([fact("order.created")] * 2, ["acme_iid_orders_total 2.0"]),
        ([fact("certificate.issued", provisioner="shop")], ['acme_iid_issued_total{provisioner="shop"} 1.0']),
        ([fact("certificate.issued", provisioner="gone")], ['acme_iid_issued_total{provisioner="other"} 1.0']),
        ([fact("certificate.revoked")], ["acme_iid_revoked_total 1.0"]),
        (
            [fact("challenge.valid", type="http-01"), fact("challenge.valid")],
            [
                'acme_iid_validations_total{challenge="http-01",outcome="valid"} 1.0',
                'acme_iid_validations_total{challenge="iid-01",outcome="valid"} 1.0',
            ],
        ),
        (
            [fact("challenge.refused", step="first use", provisioner="lab")],
            [
                'acme_iid_refused_total{provisioner="lab",step="first use"} 1.0',
                'acme_iid_validations_total{challenge="iid-01",outcome="refused"} 1.0',
            ],
        ),
        (
            [fact("challenge.refused", type="dns-01", provisioner="lab")],
            [
                'acme_iid_refused_total{provisioner="lab",step="validation"} 1.0',
                'acme_iid_validations_total{challenge="dns-01",outcome="refused"} 1.0',
            ],
        ),
        ([fact("order.refused")], ['acme_iid_refused_total{provisioner="none",step="order"} 1.0']),
        ([fact("account.created")], []),
    ],
)
def test_a_fact_is_counted(tmp_path: Path, facts: list[Event], lines: list[str]) -> None:
    assert sorted(counted(tmp_path, facts)) == sorted(lines)
