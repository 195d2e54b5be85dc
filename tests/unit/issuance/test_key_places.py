"""Where issuers' keys are: written and read, files and others; a home is loaded without its token."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from acme_iid.errors import SignerError
from acme_iid.issuance import ceremony, home, key_places, keys
from acme_iid.issuance.issuer import Issuer, Signer, key_id, sign
from acme_iid.issuance.keys import CAFileError
from acme_iid.signing import places, signers
from acme_iid.signing.keys import ForeignKey

NOW = 1_800_000_000
ROOT = ceremony.create_root("My CA", NOW)
INTERMEDIATE = ceremony.create_intermediate(ROOT, "My CA", NOW)
TOKEN = "pkcs11:token=none;object=key?module-path=/nowhere/none.so&pin-source=file:/nowhere/pin"


@pytest.mark.parametrize(
    "text",
    [
        "file:secrets/issuer_key",
        'file:secrets/a "key" with \\ in it',
        TOKEN,
        """exec:/bin/sign '"a word"' 'back\\slash' 'it'"'"'s' schlüssel""",
    ],
)
def test_a_place_is_read_as_it_was_written(text: str, tmp_path: Path) -> None:
    place = places.parse(text)
    (tmp_path / "issuer.toml").write_text(key_places.text(place))
    assert key_places.read(tmp_path / "issuer.toml") == place


def elsewhere(folder: Path) -> Signer:
    """Write a home whose issuer's key is in a token that is not there."""
    place = places.parse(TOKEN)
    assert not isinstance(place, places.FilePlace)
    signer = Signer(INTERMEDIATE.certificate, signers.open_key(place, INTERMEDIATE.key.public_key()))
    home.replace_roots(folder, ROOT.certificate)
    home.add(folder, signer, ())
    return signer


def test_a_home_is_loaded_without_its_token(tmp_path: Path) -> None:
    elsewhere(tmp_path)
    (issuer,) = home.load(tmp_path).issuers.values()
    assert issuer.signs_elsewhere
    assert home.has_key(tmp_path, issuer.id)
    assert str(home.key_place(tmp_path, issuer.id)) == TOKEN
    assert home.load_issuer(tmp_path, issuer.id, None).signs_elsewhere
    assert not any("nowhere" in str(path) for path in home.issuer_files(tmp_path))
    assert {name: str(place) for name, place in home.places_elsewhere(tmp_path).items()} == {issuer.short_id: TOKEN}
    with pytest.raises(SignerError, match=r"^the key pkcs11:token=none"):
        sign(issuer.signer, b"a text")


def test_an_issuer_with_a_file_signs_here() -> None:
    assert not Issuer(INTERMEDIATE, ROOT.certificate).signs_elsewhere


def test_a_kind_of_key_that_is_used_in_no_token_is_named(tmp_path: Path) -> None:
    public_key = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(CAFileError, match=r"^the key pkcs11:token=none.* cannot be used: .*Ed25519"):
        keys.open_key(tmp_path, places.parse(TOKEN), public_key, None)


def test_a_request_leaves_the_place_of_its_key_until_the_answer(tmp_path: Path) -> None:
    place = places.parse(TOKEN)
    assert not isinstance(place, places.FilePlace)
    key = signers.open_key(place, INTERMEDIATE.key.public_key())
    assert isinstance(key, ForeignKey)
    # A key can be asked for a second request.
    for _ in range(2):
        home.keep_key(tmp_path, key, None, waiting=True)
    assert home.has_waiting_key(tmp_path, INTERMEDIATE.certificate)
    assert home.waiting_key(tmp_path, key.public_key()) == place
    assert list(home.places_elsewhere(tmp_path)) == [key_id(key.public_key())[:16]]
    assert not home.has_issuers(tmp_path)
    assert home.leftovers(tmp_path) == [Path("issuers/.waiting")]
    home.add(tmp_path, Signer(INTERMEDIATE.certificate, key), ())
    assert home.leftovers(tmp_path) == [home.folder_of(key_id(key.public_key()))]
