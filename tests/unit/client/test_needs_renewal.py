"""needs-renewal: the exit status is the answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from scripted_ca import issue

from acme_iid_client.errors import ClientError
from acme_iid_client.renewal.schedule import planned_at

Run = Callable[..., subprocess.CompletedProcess[str]]

DUE, NOT_DUE, NO_SUCH_FILE, ERROR = 0, 1, 2, 255


@pytest.fixture
def with_left(tmp_path: Path) -> Callable[[float, float], Path]:
    """Write a certificate that has so many of its so many hours left."""

    def write(hours: float, whole: float) -> Path:
        start = datetime.now(UTC) - timedelta(hours=whole - hours)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = issue(None, "foo.local", key, ["foo.local"], start=start, days=whole / 24)
        (tmp_path / "foo.crt").write_bytes(leaf.public_bytes(Encoding.PEM))
        return tmp_path / "foo.crt"

    return write


@pytest.mark.parametrize(
    ("left", "options", "status"),
    [
        (9.5, (), NOT_DUE),
        (7, (), DUE),
        (-1, (), DUE),
        (9, ("--expires-in", "10h"), DUE),
        (9, ("--expires-in", "8h30m"), NOT_DUE),
        (9, ("--expires-in", "1d"), DUE),
        (9, ("--expires-in", "40%"), DUE),
        (9, ("--expires-in", "30%"), NOT_DUE),
        (23, ("--expires-in", "100%"), DUE),
        (9, ("--expires-in", "99999d"), DUE),
        (-1, ("--expires-in", "0s"), DUE),
    ],
)
def test_the_exit_status_says_whether_it_is_due(
    acme_iid: Run, with_left: Callable[..., Path], left: float, options: tuple[str, ...], status: int
) -> None:
    file = with_left(left, 24)
    assert acme_iid("needs-renewal", file, *options).returncode == status
    told = acme_iid("needs-renewal", file, "--json", *options)
    assert told.returncode == status
    assert json.loads(told.stdout)["needs_renewal"] is (status == DUE)


def test_a_person_reads_when(acme_iid: Run, with_left: Callable[..., Path]) -> None:
    with_left(9.5, 24)
    assert " and is due for renewal from 2" in acme_iid("needs-renewal", "foo.crt").stdout
    with_left(7, 24)
    assert " and has been due for renewal since 2" in acme_iid("needs-renewal", "foo.crt").stdout


def test_a_file_that_does_not_exist_has_a_status_of_its_own(acme_iid: Run) -> None:
    done = acme_iid("needs-renewal", "foo.crt")
    assert done.returncode == NO_SUCH_FILE
    assert "foo.crt does not exist" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("foo.crt", "--expires-in", "soon"),
        ("foo.crt", "--expires-in", ""),
        ("foo.crt", "--unheard-of"),
        ("garbage",),
        (".",),
    ],
)
def test_everything_else_that_is_wrong_has_another(
    acme_iid: Run, tmp_path: Path, with_left: Callable[..., Path], arguments: tuple[str, ...]
) -> None:
    with_left(1, 24)
    (tmp_path / "garbage").write_text("hello")
    done = acme_iid("needs-renewal", *arguments)
    assert done.returncode == ERROR
    assert "Error: " in done.stderr


@given(st.text(max_size=12))
def test_whatever_is_typed_as_a_time_left_is_a_time_or_refused(text: str) -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    leaf = issue(None, "foo.local", key, ["foo.local"])
    try:
        due = planned_at(leaf, None, text)
    except (ClientError, OverflowError):
        return
    assert due <= leaf.not_valid_after_utc
