"""When a certificate is renewed: everybody who says so says the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from scripted_ca import issue

from acme_iid_client.acme.order import Issued
from acme_iid_client.renewal import inventory
from acme_iid_client.renewal.pending_installations import PendingInstallation
from acme_iid_client.renewal.schedule import planned_at
from acme_iid_client.renewal.scheduled_pair import ScheduledPair
from acme_iid_client.storage.records import Record
from acme_iid_client.x509 import keys
from acme_iid_client.x509.certificates import rfc3339

Run = Callable[..., subprocess.CompletedProcess[str]]


def leaf_with(key: ec.EllipticCurvePrivateKey, start: datetime, days: float) -> x509.Certificate:
    return issue(None, "foo.local", key, ["foo.local"], start=start, days=days)


@pytest.mark.parametrize("expires_in", [None, "5d", "25%"])
def test_all_who_say_when_a_certificate_is_due_say_the_same(
    acme_iid: Run, tmp_path: Path, expires_in: str | None
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = leaf_with(key, datetime.now(UTC) - timedelta(days=1), 30)
    crt, private = tmp_path / "foo.crt", tmp_path / "foo.key"
    crt.write_bytes(leaf.public_bytes(Encoding.PEM))
    private.write_bytes(keys.to_pem(key))
    options = () if expires_in is None else ("--expires-in", expires_in)
    answers = {
        json.loads(acme_iid("needs-renewal", crt, "--json", *options).stdout)["due"],
        json.loads(acme_iid("renew", crt, private, "--json", *options).stdout)["due"],
    }
    if expires_in is None:
        answers.add(json.loads(acme_iid("list", crt, "--json").stdout)[0]["due"])
    pair = ScheduledPair(Record(crt, private), leaf)
    pair.plan(None, expires_in)
    assert (
        answers == {rfc3339(datetime.fromtimestamp(pair.planned, UTC))} == {rfc3339(planned_at(leaf, None, expires_in))}
    )


def test_what_the_list_calls_due_is_what_renew_renews(tmp_path: Path) -> None:
    key, start = ec.generate_private_key(ec.SECP256R1()), datetime(2026, 7, 1, tzinfo=UTC)
    # One that is renewed clearly before a third of its life is left.
    leaves = (leaf_with(key, start, 30) for _ in range(1000))
    leaf = next(leaf for leaf in leaves if planned_at(leaf) < start + timedelta(days=19.5))
    crt = tmp_path / "foo.crt"
    crt.write_bytes(leaf.public_bytes(Encoding.PEM))
    pending = PendingInstallation(Issued([leaf], key, None))
    for seconds, status in ((-1, "valid"), (1, "due")):
        moment = planned_at(leaf) + timedelta(seconds=seconds)
        assert [state.status for state in inventory.in_paths(tmp_path, (crt,), moment)] == [status]
        assert pending.is_fresh(moment) is (status == "valid")
