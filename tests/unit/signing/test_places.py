"""Places of keys are read whole or refused with a sentence, and written as they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.signing import places
from acme_iid.signing.places import FilePlace, PlaceError, ProgramPlace, TokenPlace

QUERY = "?module-path=/usr/lib/m.so&pin-source=file:/etc/pin"


def test_a_file_is_a_place() -> None:
    assert places.parse("file:secrets/a key") == FilePlace(Path("secrets/a key"))
    assert str(places.parse("file:/etc/key")) == "file:/etc/key"


def test_a_token_is_named_by_its_attributes() -> None:
    named = "token=My%20HSM;manufacturer=Acme;serial=0001;model=m1;slot-id=7;object=a%3Bb%C3%A9"
    place = places.parse(f"pkcs11:{named};id=%00%ff;type=private{QUERY}")
    assert place == TokenPlace(
        Path("/usr/lib/m.so"), "file:/etc/pin", "My HSM", "Acme", "0001", "m1", 7, "a;bé", b"\x00\xff"
    )
    assert str(place) == f"pkcs11:{named};id=%00%FF{QUERY}"
    assert places.parse(str(place)) == place


@pytest.mark.parametrize(
    ("text", "source"), [("file:///etc/pin", "file:/etc/pin"), ("credential:pin", "credential:pin")]
)
def test_a_pin_comes_from_a_file_or_a_credential(text: str, source: str) -> None:
    place = places.parse(f"pkcs11:token=t;object=k?pin-source={text}&module-path=/m.so")
    assert isinstance(place, TokenPlace)
    assert place.pin_source == source


def test_keys_of_one_token_have_one_login() -> None:
    first, second = (places.parse(f"pkcs11:token=t;{key}{QUERY}") for key in ("object=a", "id=%01"))
    assert isinstance(first, TokenPlace)
    assert isinstance(second, TokenPlace)
    assert first.login == second.login
    assert first != second


def test_a_program_has_words_and_the_last_one_is_its_key() -> None:
    place = places.parse("exec:/usr/local/bin/sign --region 'eu west' alias/acme")
    assert place == ProgramPlace(("/usr/local/bin/sign", "--region", "eu west"), "alias/acme")
    assert places.parse(str(place)) == place


def test_no_shell_reads_a_programs_words() -> None:
    place = places.parse("exec:/bin/sign $(reboot) `id` ; > key")
    assert place == ProgramPlace(("/bin/sign", "$(reboot)", "`id`", ";", ">"), "key")


@pytest.mark.parametrize("part", ["?pin-value=1234&module-path=/m.so", ";pin-value=1234?module-path=/m.so"])
def test_a_pin_in_a_uri_is_refused_and_not_repeated(part: str) -> None:
    with pytest.raises(PlaceError, match=r"pin-value is refused: .* write it into a file of mode 0600") as raised:
        places.parse(f"pkcs11:token=t;object=k{part}")
    assert "1234" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no place of a key; it begins with file:, pkcs11: or exec:"),
        ("file:", "is no place of a key"),
        ("PKCS11:token=t", "is no place of a key"),
        ("file:" + "a" * 3000, "3005 characters; 2048 is the limit"),
        ("file:a\nb", "cannot be printed"),
        ("exec:/bin/sign", "followed by a program and, as the last word"),
        ("exec:/bin/sign ''", "followed by a program and, as the last word"),
        ("exec:sign key", "the program 'sign' is not an absolute path"),
        ("exec:/bin/sign 'key", "cannot be told apart: no closing quotation"),
        (f"pkcs11:object=k{QUERY}", "it names no token; begin with pkcs11:token=LABEL"),
        (f"pkcs11:token=t{QUERY}", "it names no key; add ;object=LABEL"),
        (f"pkcs11:token=t;object=k;object=k{QUERY}", "it has object twice"),
        (f"pkcs11:token=t;object=k;type=cert{QUERY}", "its type is private"),
        (f"pkcs11:token=t;object=k;x-own=1{QUERY}", "it may not have 'x-own=1' there"),
        (f"pkcs11:token=t;;object=k{QUERY}", "it may not have '' there"),
        (f"pkcs11:token=t;object={QUERY}", "one of its attributes is empty"),
        (f"pkcs11:token=t;id={QUERY}", "its id is empty"),
        (f"pkcs11:token=t;id={'%01' * 256}{QUERY}", "longer than 255 octets"),
        (f"pkcs11:token={'t' * 33};object=k{QUERY}", "its token has more than 32 octets"),
        (f"pkcs11:token=t;object=%ff{QUERY}", "its object is not UTF-8"),
        (f"pkcs11:token=t;object=%00{QUERY}", "its object has a character that cannot be printed"),
        (f"pkcs11:token=t;object=%1{QUERY}", "the value of object has a character that a URI writes as %"),
        (f"pkcs11:slot-id=one;object=k{QUERY}", "its slot-id is no number"),
        ("pkcs11:token=t;object=k", "it needs the PKCS #11 module as an absolute path"),
        ("pkcs11:token=t;object=k?module-path=m.so&pin-source=file:/p", "it needs the PKCS #11 module as an absolute"),
        ("pkcs11:token=t;object=k?module-path=/m.so", "it needs the PIN's file or credential"),
        ("pkcs11:token=t;object=k?module-path=/m.so&pin-source=file:pin", "it needs the PIN's file or credential"),
        ("pkcs11:token=t;object=k?module-path=/m.so&pin-source=|cat", "it needs the PIN's file or credential"),
        ("pkcs11:token=t;object=k?module-path=/m.so&pin-source=credential:a/b", "it needs the PIN's file"),
    ],
)
def test_a_text_that_is_no_place_is_refused_with_a_sentence(text: str, reason: str) -> None:
    with pytest.raises(PlaceError) as raised:
        places.parse(text)
    assert reason in str(raised.value)
