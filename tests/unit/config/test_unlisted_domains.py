"""The domains that an issuer permits and ca.toml does not list, which an activation names."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.config import ca_toml, permitted
from acme_iid.config.settings import Config
from acme_iid.policy.name_constraints import NameConstraints

PARENT = NameConstraints("a CA above this one", permitted_domains=("example.org", "local", "ca.corp"))


def settings(*domains: str) -> Config:
    listed = ", ".join(f'"{domain}"' for domain in domains)
    text = f'[ca]\nname = "My CA"\ndomains = [{listed}]\n[server]\nurl = "https://ca.corp"\n'
    return ca_toml.parse(text.encode(), Path("/nowhere/ca"))


@pytest.mark.parametrize(
    ("listed", "permits", "unlisted"),
    [
        (["local"], None, ()),
        (["local"], ["local"], ()),
        (["local"], ["local", "example.org"], ("example.org",)),
        (["local"], ["local", ".example.org", "example.org"], ("example.org",)),
        (["local", "example.org"], ["local", "example.org"], ()),
        # What is below a domain that is listed is listed; whoever lists a part has chosen it.
        (["local"], ["local", "a.local"], ()),
        (["local", "a.example.org"], ["local", "example.org"], ()),
        # The server's own name, and a domain above it; clouds' own domains.
        (["local"], ["local", "ca.corp"], ()),
        (["local"], ["local", "corp"], ("corp",)),
        (["local"], ["local", "internal", "ec2.internal"], ()),
        (["local"], [""], ()),
    ],
)
def test_a_domain_that_nobody_listed_is_named(
    listed: list[str], permits: list[str] | None, unlisted: tuple[str, ...]
) -> None:
    own = NameConstraints("ours", permitted_domains=None if permits is None else tuple(permits), rotates=True)
    assert permitted.unlisted(settings(*listed), [own]) == unlisted


def test_what_a_ca_above_shuts_out_is_not_named() -> None:
    own = NameConstraints("ours", permitted_domains=("local", "example.org", "example.net"), rotates=True)
    assert permitted.unlisted(settings("local"), [own, PARENT]) == ("example.org",)
    narrow = NameConstraints("ours", permitted_domains=("local",), rotates=True)
    assert permitted.unlisted(settings("local"), [narrow, PARENT]) == ()
