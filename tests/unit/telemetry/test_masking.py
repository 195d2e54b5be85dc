"""Secrets in the texts of others, and what is none."""

from __future__ import annotations

import time

import pytest

from acme_iid.telemetry.masking import masked, without_opaque

SECRET = "hunter2-canary"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://acme_iid:{SECRET}@db.internal/acme_iid",
        f"postgresql://acme_iid:p@{SECRET}/w@db.internal/acme_iid",
        f"postgresql://acme_iid@db.internal/acme_iid?sslpassword={SECRET}&sslmode=require",
        f"cannot use ('postgresql://u:{SECRET}@h/d',) twice",
        f"host=db user=u password={SECRET} dbname=d",
        f"host=db password='a {SECRET}' dbname=d",
        f"https://{SECRET}@hooks.internal/in",
        f"https://hooks.internal/in?token={SECRET}&n=1",
        f'secret = "{SECRET}"',
        f'hmac_key = "a \\" {SECRET}"',
        f'secret = """\n{SECRET}\n"""',
        f"{{'api_key': '{SECRET}', 'n': 1}}",
        f"pkcs11:token=acme;object=issuer?pin-value={SECRET}",
        f"pin = {SECRET}",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
        f"Authorization: Basic {SECRET}",
        f"sent bearer {SECRET}{SECRET}",
        f'{{"kty":"EC","d":"{SECRET}"}}',
        f"eyJhbGciOiJFUzI1NiJ9.{SECRET}.{SECRET}",
    ],
)
def test_a_secret_is_masked_by_its_form(text: str) -> None:
    """In URLs, beside the words for secrets, in keys and in tokens."""
    assert SECRET not in masked(text)
    assert "***" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        'secret_file = "/etc/acme-iid-ca/hook.secret"',
        "the token: it gives no signature now",
        "pkcs11:token=acme;object=issuer?pin-source=file:/run/pin",
        "https://ca.local/acme/order/abc@1",
        "postgresql://acme_iid@db.internal/acme_iid",
        "spin = 3 and the basic constraints say so",
        "Wrong password of the key in issuers/1/key.pem",
        '-----BEGIN CERTIFICATE-----\n"x": 1\n-----END CERTIFICATE-----',
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    """Names of files and tokens, and words about secrets."""
    assert masked(text) == text


@pytest.mark.parametrize(
    "piece",
    ["a.", "a://b:", "https://", "eyJaaaaaa-", "pin-", "a_token.", 'secret="""', "bearer ", "password =", '"d"  ', "'"],
)
def test_a_text_of_a_strangers_choice_takes_no_time(piece: str) -> None:
    """Lines are made in the server's loop, too: no text may be looked at from each of its places to its end."""

    def seconds(octets: int) -> float:
        text = f'"{piece * (octets // len(piece))}'
        begun = time.process_time()
        without_opaque(text)
        return time.process_time() - begun

    # Half a minute and more where each place leads to the end.
    assert seconds(64_000) < 6


def test_what_is_masked_stays_as_it_is() -> None:
    """Masking twice is masking once."""
    once = masked(f"postgresql://u:{SECRET}@h/d?password={SECRET} secret={SECRET}")
    assert masked(once) == once


def test_long_words_are_taken_out_of_unforeseen_errors() -> None:
    """Evidence and signatures have no form but their length; a path is no such word."""
    evidence = "MIIB" + "x9Z" * 30
    shown = without_opaque(f"'{evidence}' at /var/lib/acme-iid-ca/certs/a-long-name/and-a-longer-one.pem")
    assert evidence not in shown
    assert shown == f"'***({len(evidence)} characters)' at /var/lib/acme-iid-ca/certs/a-long-name/and-a-longer-one.pem"
