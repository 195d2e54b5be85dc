"""A PIN is read from a private file, or from a credential of systemd's."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.errors import SignerError
from acme_iid.signing import pins


def pin_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "pin"
    path.touch(mode=0o600)
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"12 34", b"12 34\n", b"12 34\r\nanother line\n"])
def test_a_pin_is_the_first_line(tmp_path: Path, content: bytes) -> None:
    assert pins.read(f"file:{pin_file(tmp_path, content)}")[0] == "12 34"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620])
def test_a_pin_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = pin_file(tmp_path, b"1234\n", mode)
    with pytest.raises(SignerError, match=f"is open to other users .*chmod 600 '{path}'"):
        pins.read(f"file:{path}")


@pytest.mark.parametrize("content", [b"", b"\n1234", b"1" * 256, b"\xff\n"])
def test_a_file_without_a_pin_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SignerError, match=r"has no PIN of at most 255 bytes|is not UTF-8"):
        pins.read(f"file:{pin_file(tmp_path, content)}")


def test_a_stamp_tells_a_changed_file(tmp_path: Path) -> None:
    path = pin_file(tmp_path, b"1234\n")
    before = pins.read(f"file:{path}")[1]
    assert pins.stamp(f"file:{path}") == before
    path.write_bytes(b"12345\n")
    assert pins.stamp(f"file:{path}") != before


def test_a_credential_is_in_the_folder_that_systemd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SignerError, match="write LoadCredential=pin:/PATH into the service's unit"):
        pins.read("credential:pin")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    pin_file(tmp_path, b"1234\n", 0o440)
    assert pins.read("credential:pin")[0] == "1234"
