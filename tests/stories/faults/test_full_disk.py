"""A disk that is really full: a small tmpfs, filled. What was acknowledged stays, and nothing is half done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import disks
import pytest
from running import ACCOUNT, CA, answer
from wire import b64, csr, problem

from acme_iid.simulator import aws


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 4 MiB."""
    with disks.small() as folder:
        yield folder


def test_a_full_disk_is_503_with_retry_after_until_there_is_space(small_disk: Path) -> None:
    ca = CA(small_disk / "ca")
    ca.init()
    ca.start()
    try:
        account, instance = ca.account(), aws.Instance(account=ACCOUNT)
        ordered, (proven,) = account.prove("foo.local", answer=answer(instance))
        assert proven.json()["status"] == "valid"
        payload = {"csr": b64(csr("foo.local")[1])}
        filler = disks.fill(small_disk)
        refused = []
        for _ in range(40):
            response = account.order("bar.local")
            if response.status_code != 201:
                refused.append(response)
        assert refused
        for response in refused:
            assert response.status_code == 503
            assert problem(response) == "serverInternal"
            assert int(response.headers["Retry-After"]) > 0
            assert "nothing was changed" in response.json()["detail"]
        ca.until_logged("disk")
        assert "Traceback" not in "".join(ca.log)
        filler.unlink()
        done = account.post(ordered.json()["finalize"], payload)
        assert done.json()["status"] == "valid"
        assert account.post(done.json()["certificate"]).status_code == 200
    finally:
        ca.kill()
