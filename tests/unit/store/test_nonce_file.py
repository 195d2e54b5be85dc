"""The file of nonces: no nonce passes twice, in whatever process, order and state of the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.errors import StoreUnavailableError
from acme_iid.store.nonces import BLOCK, ID_BYTES, NonceFile

SIZE = 2 * BLOCK
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.integers(0, 1), st.integers(1, 2 * BLOCK)),
        st.tuples(st.just("spend"), st.integers(0, 1), st.integers(0, 5000)),
        st.tuples(st.just("open again"), st.integers(0, 1), st.just(0)),
    ),
    max_size=60,
)


def spend(nonces: NonceFile, identifier: bytes) -> bool:
    return nonces.spend(identifier, 0, 1, 0)


@given(STEPS)
def test_no_nonce_passes_twice_whatever_happens_in_which_order(steps: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "nonces"
        both = [NonceFile(path, SIZE), NonceFile(path, SIZE)]
        given_out: list[bytes] = []
        passed: set[bytes] = set()
        for what, who, number in steps:
            if what == "give":
                given_out += [both[who].fresh() for _ in range(number)]
            elif what == "open again":
                both[who] = NonceFile(path, SIZE)
            elif given_out:
                identifier = given_out[number % len(given_out)]
                if spend(both[who], identifier):
                    assert identifier not in passed
                    passed.add(identifier)
        assert len(set(given_out)) == len(given_out)
        # However many there were, the latest one is good, for both.
        for who in (0, 1):
            assert spend(both[1 - who], both[who].fresh())


def test_a_nonce_whose_place_another_one_took_is_refused(tmp_path: Path) -> None:
    nonces = NonceFile(tmp_path / "nonces", SIZE)
    spent, unspent = nonces.fresh(), nonces.fresh()
    assert spend(nonces, spent)
    for _ in range(SIZE):
        nonces.fresh()
    assert not spend(nonces, spent)
    assert not spend(nonces, unspent)


def test_a_number_that_nobody_was_given_is_refused(tmp_path: Path) -> None:
    nonces = NonceFile(tmp_path / "nonces")
    latest = nonces.fresh()
    for number in (BLOCK, 1 << 24, (1 << 64) - 1):
        assert not spend(nonces, latest[:8] + number.to_bytes(8, "big"))
    assert not spend(nonces, bytes(8) + latest[8:])
    assert len(latest) == ID_BYTES
    assert spend(nonces, latest)


def test_processes_that_take_nonces_at_once_never_take_the_same(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom acme_iid.store.nonces import NonceFile\n"
        "nonces = NonceFile(Path('nonces'))\nprint(flush=True)\nsys.stdin.readline()\n"
        "print(*(nonces.fresh().hex() for _ in range(5000)))\n"
    )
    command = [sys.executable, "-c", script]
    running = [
        subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    taken = [process.communicate("go\n", timeout=60)[0].split() for process in running]
    everything = [identifier for some in taken for identifier in some]
    assert len(everything) == 15000
    assert len(set(everything)) == 15000
    nonces = NonceFile(tmp_path / "nonces")
    assert all(spend(nonces, bytes.fromhex(identifier)) for identifier in everything)
    assert not any(spend(nonces, bytes.fromhex(identifier)) for identifier in everything)


def test_nonces_of_before_a_reboot_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nonces"
    before = NonceFile(path)
    old = [before.fresh() for _ in range(3)]
    assert spend(before, old[0])
    with path.open("r+b") as file:  # as another boot would have written it
        file.seek(16)
        file.write(bytes(16))
    after = NonceFile(path)
    assert [spend(after, identifier) for identifier in old] == [False] * 3
    assert spend(after, after.fresh())
    # A process that has not noticed cannot go on in the new numbers.
    assert not spend(after, before.fresh())


@pytest.mark.parametrize("content", [b"", b"not a file of nonces", bytes(3_000_000)])
def test_a_file_that_holds_something_else_is_made_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nonces"
    path.write_bytes(content)
    nonces = NonceFile(path)
    nonce = nonces.fresh()
    assert [spend(nonces, nonce), spend(NonceFile(path), nonce)] == [True, False]


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        NonceFile(tmp_path / "nowhere" / "nonces")
