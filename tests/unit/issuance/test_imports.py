"""A chain that somebody else signed: those that do not fit are refused, each with its sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from company_cas import (
    OTHER_KEY,
    Company,
    pem,
    right_chains,
    wrong_certificates,
    wrong_chains,
    wrong_files,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from acme_iid.issuance import chain_files, imports
from acme_iid.issuance.keys import CAFileError

COMPANY = Company(ec.generate_private_key(ec.SECP256R1()).public_key(), 1_800_000_000)
RIGHT = right_chains(COMPANY)
FILES = wrong_files(COMPANY)
WRONG = {**wrong_chains(COMPANY), **wrong_certificates(COMPANY)}
SAID_FIRST = {"another key": "for another key than this CA's"}
"""Sentences that the command has another for, since it looks for a waiting key before."""


def read(folder: Path, data: bytes) -> tuple[x509.Certificate, ...]:
    (folder / "chain.pem").write_bytes(data)
    return chain_files.read(folder / "chain.pem")


@pytest.mark.parametrize("case", RIGHT)
def test_a_chain_that_fits_is_taken(case: str, tmp_path: Path) -> None:
    chain = read(tmp_path, pem(*RIGHT[case]))
    assert chain == tuple(RIGHT[case])
    imports.check(chain, COMPANY.key, COMPANY.now)


@pytest.mark.parametrize("case", WRONG)
def test_a_chain_that_does_not_fit_is_refused(case: str, tmp_path: Path) -> None:
    data, sentence = WRONG[case]
    chain = read(tmp_path, data)
    with pytest.raises(CAFileError) as refused:
        imports.check(chain, COMPANY.key, COMPANY.now)
    assert SAID_FIRST.get(case, sentence) in str(refused.value)


def test_each_wrong_chain_has_a_sentence_of_its_own() -> None:
    sentences = [sentence for _, sentence in (*FILES.values(), *WRONG.values())]
    assert len(set(sentences)) >= 35


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_chain_is_refused(case: str, tmp_path: Path) -> None:
    data, sentence = FILES[case]
    with pytest.raises(CAFileError) as refused:
        read(tmp_path, data)
    assert sentence in str(refused.value)


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CAFileError, match="cannot be read"):
            chain_files.read(path)


def test_ends_of_lines_and_texts_between_are_nobodys_concern(tmp_path: Path) -> None:
    chain = RIGHT["three tiers"]
    text = pem(*chain)
    for data in (text.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + text, b"\n\n  subject=CN = x\n" + text + b"\n \t\n"):
        assert read(tmp_path, data) == tuple(chain)


def test_a_root_by_itself_is_no_issuer() -> None:
    root = COMPANY.certificate("Root", OTHER_KEY.public_key(), "Root", OTHER_KEY)
    with pytest.raises(CAFileError, match="'CN=Root' is self-signed: a root that issues leaves by itself"):
        imports.check([root], OTHER_KEY.public_key(), COMPANY.now)


def test_a_chain_for_servers_alone_says_what_it_leaves_out() -> None:
    assert imports.closed_purposes(RIGHT["for servers alone"]) == ["clientAuth"]
    assert imports.closed_purposes(RIGHT["both purposes"]) == []
    assert imports.closed_purposes(RIGHT["three tiers"]) == []
