"""A token's faults: none becomes a signature, and signatures come again by themselves once the token is well."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import thread_states
from signing.programs import answers_soon
from signing.softhsm import PIN, Shim, SoftHSM, signer_processes

from acme_iid.errors import SignerError
from acme_iid.signing import places, signers
from acme_iid.signing.asker import ANSWER_SECONDS
from acme_iid.signing.keys import ForeignKey
from acme_iid.signing.places import TokenPlace

WRONG = "a signature that its public key does not verify"
LATE = "it gave no answer in time"
ONCE = {
    "hang": LATE,
    "crash": "it ended by signal 6",
    "wrong": WRONG,
    "zero": WRONG,
    "short": WRONG,
    "empty": WRONG,
}


def open_key(token: SoftHSM, shim: Shim) -> ForeignKey:
    """A key that is asked through the module that fails on demand."""
    signers.generate(token.place(), "P-256")
    place = token.place(module=shim.module)
    return signers.open_key(place, signers.public_key(place))


@pytest.mark.parametrize("fault", ONCE)
def test_a_fault_of_the_module_costs_one_signature(token: SoftHSM, shim: Shim, fault: str) -> None:
    key = open_key(token, shim)
    signers.answers(key)
    shim.fail(fault)
    begin = time.monotonic()
    with pytest.raises(SignerError, match=ONCE[fault]):
        signers.answers(key)
    assert time.monotonic() - begin < ANSWER_SECONDS + 1
    answers_soon(key)
    signers.close(key)


@pytest.mark.parametrize("fault", ["removed", "print"])
def test_a_device_that_was_removed_for_a_moment_costs_nothing(token: SoftHSM, shim: Shim, fault: str) -> None:
    """Nor does a module that prints something among the answers."""
    key = open_key(token, shim)
    signers.answers(key)
    shim.fail(fault)
    signers.answers(key)
    signers.answers(key)
    assert not shim.control.exists()
    signers.close(key)


def test_a_login_that_has_ended_is_renewed_within_the_deadline(token: SoftHSM, shim: Shim) -> None:
    """The module ends all sessions when it was idle, until C_Finalize and C_Initialize; the process stays the same."""
    key = open_key(token, shim)
    signers.answers(key)
    (process,) = signer_processes(token)
    before = shim.count("finalize")
    shim.fail("idle")
    for _ in range(3):
        time.sleep(2.1)  # a quiet minute of that module's
        begin = time.monotonic()
        signers.answers(key)
        assert time.monotonic() - begin < ANSWER_SECONDS
        signers.answers(key)
    assert shim.count("finalize") == before + 3
    assert signer_processes(token) == [process]
    signers.close(key)


def test_many_threads_meet_a_login_that_has_ended(token: SoftHSM, shim: Shim) -> None:
    key = open_key(token, shim)
    signers.answers(key)
    before = shim.count("initialize")
    shim.fail("ended")
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(signers.answers, [key] * 64)) == [None] * 64
    assert shim.count("initialize") == before + 1
    signers.close(key)


def test_a_module_that_always_fails_is_not_opened_again_each_time(token: SoftHSM, shim: Shim) -> None:
    key = open_key(token, shim)
    signers.answers(key)
    before = shim.count("initialize")
    shim.fail("general-error")
    begin = time.monotonic()
    for _ in range(50):
        with pytest.raises(SignerError, match="the token answers GeneralError"):
            signers.answers(key)
    assert shim.count("initialize") - before <= 2 + time.monotonic() - begin
    shim.recover()
    answers_soon(key)
    signers.close(key)


def test_a_module_for_one_thread_is_used_by_one(token: SoftHSM, shim: Shim) -> None:
    signers.generate(token.place(), "P-256")
    shim.fail("cant-lock")
    place = token.place(module=shim.module)
    key = signers.open_key(place, signers.public_key(place))
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(signers.answers, [key] * 64)) == [None] * 64
    (process,) = signer_processes(token)
    assert len(thread_states(process)) == 2
    signers.close(key)


def test_a_login_that_hangs_is_ended_and_tried_again(token: SoftHSM, shim: Shim) -> None:
    key = open_key(token, shim)
    shim.fail("hang-login")
    with pytest.raises(SignerError, match=LATE):
        signers.answers(key)
    answers_soon(key)
    signers.close(key)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("final-try", "one more wrong PIN would lock the token"), ("locked", "the token has locked its PIN")],
)
def test_a_token_that_may_lock_itself_gets_no_pin(token: SoftHSM, shim: Shim, fault: str, reason: str) -> None:
    key = open_key(token, shim)
    before = shim.count("login")
    shim.fail(fault)
    with pytest.raises(SignerError, match=reason):
        signers.answers(key)
    assert shim.count("login") == before
    shim.recover()
    answers_soon(key)
    signers.close(key)


def test_a_wrong_pin_is_tried_once_until_its_file_changes(token: SoftHSM, shim: Shim) -> None:
    key = open_key(token, shim)
    token.pin.write_text("4321\n")
    before = shim.count("login")
    for _ in range(20):
        with pytest.raises(
            SignerError, match=r"the token refuses the PIN in file:.*; write the right one there"
        ) as raised:
            signers.answers(key)
        assert "4321" not in str(raised.value)
    assert shim.count("login") == before + 1
    token.pin.write_text(f"{PIN}\n")
    answers_soon(key)
    signers.close(key)


def pin_open_to_others(token: SoftHSM) -> None:
    token.pin.chmod(0o640)


def pin_missing(token: SoftHSM) -> None:
    token.pin.rename(token.pin.with_suffix(".away"))


def pin_empty(token: SoftHSM) -> None:
    token.pin.write_text("\n")


def pin_mended(token: SoftHSM) -> None:
    if not token.pin.exists():
        token.pin.with_suffix(".away").rename(token.pin)
    token.pin.chmod(0o600)
    token.pin.write_text(f"{PIN}\n")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (pin_open_to_others, r"is open to other users \(mode 0640\)"),
        (pin_missing, "cannot be read: No such file"),
        (pin_empty, "has no PIN of at most 255 bytes"),
    ],
)
def test_without_a_good_file_of_the_pin_there_are_no_signatures(token: SoftHSM, damage: object, reason: str) -> None:
    assert callable(damage)
    key = signers.open_key(token.place(), signers.generate(token.place(), "P-256").public_key)
    damage(token)
    with pytest.raises(SignerError, match=reason):
        signers.answers(key)
    pin_mended(token)
    answers_soon(key)
    signers.close(key)


def test_a_pin_comes_from_a_systemd_credential(token: SoftHSM, monkeypatch: pytest.MonkeyPatch) -> None:
    signers.generate(token.place(), "P-256")
    place = places.parse(str(token.place()).replace(f"file:{token.pin}", "credential:pin"))
    assert isinstance(place, TokenPlace)
    with pytest.raises(SignerError, match="LoadCredential=pin:/PATH"):
        signers.public_key(place)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(token.folder))
    token.pin.chmod(0o440)
    signers.public_key(place)


def test_a_token_that_is_missing_is_found_when_it_comes(token: SoftHSM) -> None:
    place = token.place(token="later")
    with pytest.raises(SignerError, match="there is no token of that name"):
        signers.public_key(place)
    public_key = signers.generate(token.place(), "P-256").public_key
    key = signers.open_key(place, public_key)
    with pytest.raises(SignerError, match="there is no token of that name"):
        signers.answers(key)
    (token.folder / "tokens").rename(token.folder / "old")
    (token.folder / "tokens").mkdir()
    token.add_token("later")
    later = signers.open_key(place, signers.generate(place, "P-256").public_key)
    answers_soon(later)
    with pytest.raises(SignerError, match=WRONG):
        signers.answers(key)
    for each in (key, later):
        signers.close(each)


def test_two_tokens_of_one_name_are_none(token: SoftHSM) -> None:
    token.add_token("acme")
    with pytest.raises(SignerError, match="there are several tokens of that name"):
        signers.public_key(token.place())


def test_no_key_and_two_keys_of_one_name_are_none(token: SoftHSM) -> None:
    with pytest.raises(SignerError, match="there is no private key of that name"):
        signers.public_key(token.place())
    for number in ("01", "02"):
        token.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "key", "--id", number)
    with pytest.raises(SignerError, match="there are several private keys of that name"):
        signers.public_key(token.place())
    signers.public_key(token.place("object=key;id=%02"))


def test_a_key_of_another_curve_or_use_is_refused(token: SoftHSM) -> None:
    token.pkcs11_tool("--keypairgen", "--key-type", "EC:secp521r1", "--label", "key", "--id", "01")
    with pytest.raises(SignerError, match="the key is of another curve than P-256 and P-384"):
        signers.public_key(token.place())
    token.add_key_that_derives("derive")
    with pytest.raises(SignerError, match="the private key may not sign"):
        signers.public_key(token.place("object=derive"))


def test_a_key_that_is_not_the_certificates_signs_nothing(token: SoftHSM) -> None:
    signers.generate(token.place("object=a"), "P-256")
    other = signers.generate(token.place("object=b"), "P-256").public_key
    larger = signers.generate(token.place("object=c"), "RSA-2048").public_key
    for public_key, reason in ((other, WRONG), (larger, "of another type than its certificate's")):
        key = signers.open_key(token.place("object=a"), public_key)
        with pytest.raises(SignerError, match=reason):
            signers.answers(key)
        signers.close(key)


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_module_that_others_can_change_is_not_loaded(
    token: SoftHSM, shim_library: Path, shim: Shim, tmp_path: Path, mode: int
) -> None:
    key = open_key(token, shim)
    signers.close(key)
    module = tmp_path / "module.so"
    module.write_bytes(shim_library.read_bytes())
    os.chown(module, -1, 12345)
    module.chmod(mode)
    key = signers.open_key(token.place(module=module), key.public_key())
    before = shim.count("initialize")
    with pytest.raises(SignerError, match="other users can write to"):
        signers.answers(key)
    assert shim.count("initialize") == before
    module.chmod(0o755)
    answers_soon(key)
    signers.close(key)


def test_a_module_that_is_none_is_named(token: SoftHSM, tmp_path: Path) -> None:
    for name, content in (("missing.so", None), ("text.so", "no library")):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(SignerError, match=name):
            signers.public_key(token.place(module=tmp_path / name))


def test_the_process_hides_its_pin_and_ends_with_the_one_that_asks(token: SoftHSM) -> None:
    key = signers.open_key(token.place(), signers.generate(token.place(), "P-256").public_key)
    signers.answers(key)
    (process,) = signer_processes(token)
    proc = Path(f"/proc/{process}")
    assert PIN.encode() not in (proc / "cmdline").read_bytes().replace(str(token.folder).encode(), b"")
    assert f"={PIN}".encode() not in (proc / "environ").read_bytes()
    assert (proc / "limits").read_text().split("Max core file size")[1].split()[:2] == ["0", "0"]
    # The files of what is not dumpable are root's, whoever runs it (proc(5)).
    assert (proc / "mem").stat().st_uid == 0
    signers.close(key)
    assert not proc.exists()
