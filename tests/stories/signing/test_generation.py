"""Making a key in a token: preparations that fail after it leave one key at most, which the next one takes up."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from signing.softhsm import Shim, SoftHSM

from acme_iid.errors import SignerError
from acme_iid.issuance.issuer import key_id
from acme_iid.signing import signers


def test_ten_failed_preparations_leave_one_key(token: SoftHSM) -> None:
    """Whatever fails after the key was made: nobody has written down that it is there."""
    made = [signers.generate(token.place(), "P-256") for _ in range(10)]
    assert [entry.made for entry in made] == [True] + 9 * [False]
    assert len({entry.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for entry in made}) == 1
    assert token.private_keys() == 1


def test_ten_kills_right_after_a_key_was_made_leave_one_key(token: SoftHSM, shim: Shim) -> None:
    place = token.place(module=shim.module)
    shim.fail("crash-generated")
    with pytest.raises(SignerError, match="it ended with status 9"):
        signers.generate(place, "P-256")
    for _ in range(9):
        assert not signers.generate(place, "P-256").made
    assert shim.count("generate") == 1
    assert token.private_keys() == 1
    signers.public_key(place)


def test_a_key_with_a_certificate_is_not_taken_up(token: SoftHSM) -> None:
    first = signers.generate(token.place(), "P-256")
    with pytest.raises(SignerError, match="has a certificate already; choose another name"):
        signers.generate(token.place(), "P-256", {key_id(first.public_key)})
    assert token.private_keys() == 1
    second = signers.generate(token.place("object=second"), "P-256", {key_id(first.public_key)})
    assert second.made
    assert second.public_key != first.public_key


def test_a_key_of_another_type_is_not_taken_up(token: SoftHSM) -> None:
    signers.generate(token.place(), "P-256")
    with pytest.raises(SignerError, match="there is a key of that name, and it is P-256, not RSA-2048"):
        signers.generate(token.place(), "RSA-2048")
    with pytest.raises(SignerError, match="a token makes no key of the type Ed25519; it makes P-256"):
        signers.generate(token.place("object=other"), "Ed25519")


def test_two_keys_of_that_name_are_not_taken_up(token: SoftHSM) -> None:
    for number in ("01", "02"):
        token.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "key", "--id", number)
    with pytest.raises(SignerError, match="there are several private keys of that name"):
        signers.generate(token.place(), "P-256")


def test_a_key_has_the_label_and_the_id_that_its_place_names(token: SoftHSM) -> None:
    signers.generate(token.place("object=A%20key;id=%0A%FF"), "P-384")
    listed = token.pkcs11_tool("--list-objects", "--type", "privkey")
    assert "label:      A key\n" in listed
    assert "ID:         0aff\n" in listed


def test_a_token_that_cannot_write_makes_no_key(token: SoftHSM) -> None:
    token.remove_token()
    with pytest.raises(SignerError, match="there is no token of that name"):
        signers.generate(token.place(), "P-256")
