"""A signing program's faulty answers: each costs its own signature at most, and the next one comes by itself."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from signing import programs
from signing.programs import ECDSA, Program, answers_soon, has_ended

from acme_iid.errors import SignerError
from acme_iid.signing import signers
from acme_iid.signing.asker import ANSWER_SECONDS, MOST_WAITING, START_SECONDS
from acme_iid.signing.places import ProgramPlace

WRONG = "a signature that its public key does not verify"
NONE = "no signature in base64"
LATE = "it gave no answer in time"
FAULTS = {
    "hangs": LATE,
    "hangs in the middle of its answer": LATE,
    "dies": "it ended with status 3",
    "dies in the middle of its answer": "it ended with status 6",
    "answers late": LATE,
    "closes its output": "it closed its standard output",
    "stops reading": LATE,
    "writes without end": "more than 100 lines that answer nothing",
    "writes a line without end": "a line longer than 16384 bytes",
    "is ready without end": "more than 100 lines that answer nothing",
    "writes to stderr without end": LATE,
    "signs with another key": WRONG,
    "signs another digest": WRONG,
    "answers wrongly, then rightly": WRONG,
    "r and s side by side": "no DER sequence",
    "r is zero": WRONG,
    "s is zero": WRONG,
    "cuts the signature": WRONG,
    "adds to the signature": WRONG,
    "answers an id to come": LATE,
    "answers an id of before": LATE,
    "answers an id below zero": LATE,
    "answers a huge id": LATE,
    "answers a longer id": LATE,
    "answers the id and a half": LATE,
    "answers no id": LATE,
    "answers with null as id": LATE,
    "answers with an id as text": LATE,
    "answers with an id that is true": LATE,
    "answers without JSON": LATE,
    "answers in another encoding": LATE,
    "cuts its JSON": LATE,
    "answers in brackets": LATE,
    "gives a member twice": LATE,
    "nests deep": LATE,
    "answers with 1 MB": "a line longer than 16384 bytes",
    "answers with 8 KB": NONE,
    "answers nothing": NONE,
    "answers an empty line": LATE,
    "answers without a signature": NONE,
    "answers with a number": NONE,
    "answers in hexadecimal": NONE,
    "breaks lines in its base64": NONE,
    "answers with an error": r"AccessDenied\\nfor this role",
    "answers with an error in brackets": r"gives no signature: \[1\]",
    "says that it ends": "the key service is closed",
}
NOW, LATER = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A CA")])
HARMLESS = ("takes half a second", "writes a banner", "writes 1 MB to stderr", "answers twice", "dies after the answer")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_answer_is_no_signature_and_the_next_one_comes(program: Program, fault: str) -> None:
    signers.answers(program.key)
    program.fail(fault)
    begin = time.monotonic()
    with pytest.raises(SignerError, match=FAULTS[fault]) as raised:
        program.sign()
    assert time.monotonic() - begin < ANSWER_SECONDS + 1
    assert str(program.place) in str(raised.value)
    answers_soon(program.key)


def test_two_answers_that_are_swapped_are_no_signatures(program: Program) -> None:
    signers.answers(program.key)
    program.fail("swaps two answers")
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(program.sign, text) for text in (b"a text", b"another text")]
        errors = [str(done.exception()) for done in asked]
    assert [error for error in errors if WRONG not in error] == []
    answers_soon(program.key)
    assert program.starts() == 1


def test_a_child_that_holds_the_pipes_of_one_that_died_is_ended(program: Program) -> None:
    signers.answers(program.key)
    program.fail("dies and leaves a child")
    with pytest.raises(SignerError, match=LATE):
        program.sign()
    answers_soon(program.key)
    child = int((program.folder / "child").read_text())
    assert has_ended(child)


def test_a_long_text_that_nobody_reads_is_given_up(program: Program) -> None:
    signers.answers(program.key)
    program.fail("hangs")
    begin = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(program.sign, bytes(size)) for size in (1, 4_000_000)]
        errors = [str(done.exception()) for done in asked]
    assert [error for error in errors if LATE not in error] == []
    assert time.monotonic() - begin < ANSWER_SECONDS + 2
    answers_soon(program.key)


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_comes_beside_a_right_answer_does_not_harm_it(program: Program, fault: str) -> None:
    signers.answers(program.key)
    program.fail(fault)
    program.sign()
    answers_soon(program.key)
    program.sign()


def test_what_a_program_writes_to_stderr_is_logged_and_bounded(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    signers.answers(program.key)
    program.fail("writes 1 MB to stderr")
    program.sign()
    program.close()
    remarks = [record.getMessage() for record in caplog.records if record.name == "acme_iid.signing.remarks"]
    assert remarks[0] == f"the key {program.place}: a trouble of no importance"
    assert len(remarks) < 60
    assert remarks[-1].endswith("more lines are left out")


def test_a_private_key_on_stderr_is_not_logged(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    signers.answers(program.key)
    program.fail("writes its key to stderr")
    program.sign()
    program.close()
    assert "here it is:" in caplog.text
    assert "and that was it" in caplog.text
    pem = (program.folder / "key.pem").read_text().splitlines()
    assert [line for line in pem if line in caplog.text] == []


def test_a_banner_is_logged_in_one_line_without_its_colours(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    program.fail("writes a banner")
    program.sign()
    program.close()
    assert "Welcome to the signing service!" in caplog.text
    assert r"\x1b[31mcoloured\x00" in caplog.text
    assert "\x1b" not in caplog.text


def test_a_program_that_exits_at_start_is_started_again(program: Program) -> None:
    program.fail("exits at start")
    with pytest.raises(SignerError, match="it ended with status 4"):
        program.sign()
    answers_soon(program.key)
    assert program.starts() == 2


def test_the_first_start_of_all_is_waited_for_and_no_longer(program: Program) -> None:
    program.fail("hangs at start")
    begin = time.monotonic()
    with pytest.raises(SignerError, match=LATE):
        program.sign()
    assert START_SECONDS <= time.monotonic() - begin < START_SECONDS + 1
    answers_soon(program.key)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.unlink(), "No such file"),
        (lambda file: file.chmod(0o600), "Permission denied"),
        (lambda file: file.chmod(0o777), "other users can write to"),
        (lambda file: file.parent.chmod(0o777), "other users can write to"),
        (lambda file: file.parent.chmod(0o1777), "other users can write to"),
    ],
    ids=[
        "missing",
        "not executable",
        "others can write to it",
        "others can replace it",
        "others can add to its folder",
    ],
)
def test_a_program_that_cannot_or_may_not_run_is_run_once_it_may(program: Program, damage: object, reason: str) -> None:
    assert callable(damage)
    source = program.file.read_text()
    damage(program.file)
    with pytest.raises(SignerError, match=reason):
        program.sign()
    program.folder.chmod(0o700)
    program.file.touch()
    program.file.chmod(0o700)
    program.file.write_text(source)
    answers_soon(program.key)


def test_while_a_program_is_away_questions_fail_without_waiting(program: Program) -> None:
    program.file.chmod(0o600)
    with pytest.raises(SignerError):
        program.sign()
    begin = time.monotonic()
    for _ in range(100):
        with pytest.raises(SignerError, match="Permission denied"):
            program.sign()
    assert time.monotonic() - begin < 1


def test_starts_that_fail_have_longer_and_longer_pauses(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    program.file.chmod(0o600)
    with pytest.raises(SignerError):
        program.sign()
    deadline = time.monotonic() + 20
    while caplog.text.count("it is started again in") < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    pauses = [record.getMessage().rpartition(" in ")[2] for record in caplog.records if "again" in record.getMessage()]
    assert pauses[:5] == ["0 s", "1 s", "2 s", "4 s", "8 s"]


def test_many_threads_get_their_own_signatures(program: Program) -> None:
    texts = [f"text {number}".encode() for number in range(400)]
    public_key = program.key.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    with ThreadPoolExecutor(16) as pool:
        for text, signature in zip(texts, pool.map(program.sign, texts), strict=True):
            public_key.verify(signature, text, ECDSA)
    assert program.starts() == 1


def test_one_hanging_answer_costs_those_that_wait_their_deadline_and_no_more(program: Program) -> None:
    signers.answers(program.key)
    program.fail("hangs")
    begin = time.monotonic()
    with ThreadPoolExecutor(MOST_WAITING + 8) as pool:
        asked = [pool.submit(program.sign) for _ in range(MOST_WAITING + 8)]
        errors = [str(done.exception()) for done in asked]
    assert time.monotonic() - begin < ANSWER_SECONDS + 2
    assert [error for error in errors if LATE not in error and "others wait for it already" not in error] == []
    assert any("others wait for it already" in error for error in errors)
    answers_soon(program.key)


def test_a_long_list_of_revoked_certificates_is_signed(program: Program) -> None:
    """More than the 4,096 bytes that a key service takes, than 16 KiB, and than a pipe holds."""
    assert isinstance(program.key, ec.EllipticCurvePrivateKey)
    entry = x509.RevokedCertificateBuilder().revocation_date(NOW)
    revoked = [entry.serial_number(1 << 100 | number).build() for number in range(6_000)]
    sizes = []
    for count in (200, 600, 6_000):
        builder = x509.CertificateRevocationListBuilder(NAME, NOW, LATER, [], revoked[:count])
        crl = builder.sign(program.key, hashes.SHA256())
        assert crl.is_signature_valid(program.key.public_key())
        sizes.append(len(crl.tbs_certlist_bytes))
    assert sizes[0] > 4_096
    assert sizes[1] > 16 * 1024
    assert sizes[2] > 128 * 1024


def test_an_rsa_key_signs_behind_a_program(tmp_path: Path) -> None:
    program = programs.make(tmp_path / "rsa", rsa.generate_private_key(65537, 2048))
    assert isinstance(program.key, rsa.RSAPrivateKey)
    signature = program.key.sign(b"a text", padding.PKCS1v15(), hashes.SHA256())
    program.key.public_key().verify(signature, b"a text", padding.PKCS1v15(), hashes.SHA256())
    program.close()


def test_a_program_is_asked_for_its_public_key(program: Program) -> None:
    assert signers.public_key(program.place) == program.key.public_key()


def test_keys_of_one_program_share_one_process(program: Program) -> None:
    other = signers.open_key(ProgramPlace(program.place.command, "another name"), program.key.public_key())
    signers.answers(program.key)
    signers.answers(other)
    assert program.starts() == 1
    program.close()
    signers.answers(other)
    assert program.starts() == 1
    signers.close(other)
    with pytest.raises(SignerError, match="it is closed"):
        signers.answers(other)


def test_a_program_ends_with_its_last_key_and_so_do_its_children(program: Program) -> None:
    shell = programs.write(
        program.folder / "parent",
        f"import os, subprocess, sys\n"
        f"child = subprocess.Popen([{str(program.file)!r}, {str(program.folder)!r}], stdin=sys.stdin)\n"
        f"open({str(program.folder / 'pid')!r}, 'w').write(str(child.pid))\n"
        f"child.wait()\n",
    )
    key = signers.open_key(ProgramPlace((str(shell),), "acme"), program.key.public_key())
    signers.answers(key)
    child = int((program.folder / "pid").read_text())
    signers.close(key)
    assert has_ended(child)
