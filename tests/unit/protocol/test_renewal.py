"""What names a certificate in renewal information, and when it should be renewed (RFC 9773)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.protocol.renewal import CertificateId, retry_after, window
from acme_iid.protocol.resources import Certificate

DAY = 86400
CERTIFICATE = Certificate("c", "1", "a", (), 1000, 1000 + DAY, 1060, b"", "i", "k")


def test_the_rfcs_own_example() -> None:
    # RFC 9773 section 4.1.
    key = bytes.fromhex("69885B6B87466641E1B37B847BA0AE2CDE01C8D4")
    identifier = CertificateId(key, 0x87654321)
    assert str(identifier) == "aYhba4dGZkHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert CertificateId.read("aYhba4dGZkHhs3uEe6CuLN4ByNQ.AIdlQyE") == identifier


@given(st.binary(min_size=1, max_size=32), st.integers(1, (1 << 159) - 1))
def test_what_is_written_is_read(key: bytes, serial: int) -> None:
    identifier = CertificateId(key, serial)
    assert CertificateId.read(str(identifier)) == identifier


@given(st.one_of(st.text(max_size=80), st.from_regex(r"[A-Za-z0-9_=-]{0,40}\.[A-Za-z0-9_=-]{0,40}", fullmatch=True)))
def test_a_text_is_read_in_one_spelling_or_refused(text: str) -> None:
    try:
        found = str(CertificateId.read(text))
    except ValueError as error:
        found = str(error)
    assert found == text or "RFC 9773" in found


@pytest.mark.parametrize("text", ["", ".", "aYhb.", ".AIdlQyE", "aYhb.AIdlQyE=", "aYhb.AAAB", "aYhb.AIdlQyE.x", "ä.AQ"])
def test_what_names_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 9773"):
        CertificateId.read(text)


@given(st.integers(60, 825 * DAY))
def test_a_renewal_window_lies_in_the_second_half_of_the_lifetime(lifetime: int) -> None:
    certificate = replace(CERTIFICATE, not_after=CERTIFICATE.not_before + lifetime)
    start, end = window(certificate)
    assert certificate.not_before + lifetime // 2 < start < end < certificate.not_after
    assert 60 <= retry_after(certificate) <= 6 * 3600


def test_a_revoked_certificates_window_is_past_whatever_an_operator_set() -> None:
    revoked = replace(CERTIFICATE, renew_from=5000, renew_until=6000, revoked_at=2000)
    start, end = window(revoked)
    assert start < end < 2000


def test_an_operators_window_goes_before_the_usual_one() -> None:
    assert window(replace(CERTIFICATE, renew_from=5000, renew_until=6000)) == (5000, 6000)
