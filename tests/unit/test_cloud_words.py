"""A cloud is known in the files that are named after it, in the registries, and where people are shown examples."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORDS = re.compile(r"aws|gcp|azure", re.IGNORECASE)
OF_A_CLOUD = re.compile(r"(metadata_)?(aws|gcp|azure)(_[a-z_]+)?\.py|sigv4\.py|sts\.py|nitro(tpm)?\.py")
"""The names of files that are about one cloud; a cloud's own protocols have names of their own."""
ELSEWHERE = {
    # Registries: one line for each cloud.
    "acme_iid/attestation/registry.py",
    "acme_iid/cli/demo.py",
    "acme_iid/cli/metadata.py",
    "acme_iid/policy/clouds/__init__.py",
    "client/acme_iid_client/clouds/__init__.py",
    "client/acme_iid_client/x509/certificates.py",
    # Examples and help for people.
    "acme_iid/cli/first_ca_toml.py",
    "acme_iid/cli/init.py",
    "acme_iid/cli/provisioner.py",
    "client/acme_iid_client/cli/options.py",
    "client/acme_iid_client/cli/verify.py",
    "client/acme_iid_client/manual.py",
    "client/certbot_acme_iid/authenticator.py",
    # Names on the disk, and an audience that is everybody's and so nobody's.
    "acme_iid/config/findings.py",
    "client/acme_iid_client/acme/known_ca.py",
    "client/acme_iid_client/storage/records.py",
    # A warning about plain documents, which one cloud has.
    "client/acme_iid_client/cli/evidence.py",
    # EC2's own service, which stands in for it.
    "acme_iid/simulator/server.py",
    # It finds out which cloud's a document is, by its form.
    "client/acme_iid_client/cli/verification.py",
}


def words(tree: ast.Module) -> Iterator[str]:
    """The names and texts in a module that have a cloud's name in them; a text that is a statement is a comment."""
    comments = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        found = [getattr(node, field, None) for field in ("id", "attr", "arg", "name", "module")]
        if isinstance(node, ast.Constant) and id(node) not in comments:
            found.append(node.value)
        yield from (text for text in found if isinstance(text, str) and WORDS.search(text))


def test_no_other_file_knows_a_cloud() -> None:
    knowing = {
        file.relative_to(ROOT).as_posix(): found
        for folder in ("acme_iid", "client")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if not OF_A_CLOUD.fullmatch(file.name) and (found := list(words(ast.parse(file.read_text("utf-8")))))
    }
    assert {name: found for name, found in knowing.items() if name not in ELSEWHERE} == {}


def test_each_word_is_found() -> None:
    tree = ast.parse(
        '"""aws"""\nimport aws\nfrom x.gcp import y\nazure = 1\nx.aws()\nf(gcp=1)\nz = "--azure-x"\n"""aws"""'
    )
    assert sorted(words(tree)) == ["--azure-x", "aws", "aws", "azure", "gcp", "x.gcp"]
