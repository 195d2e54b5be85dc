"""Five verifiers, before, during and after a rotation of the intermediate: chain, constraints, list and OCSP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
from certificate_status_requests import revoke
from cryptography import x509
from pki import http_status
from pki.forging import FORBIDDEN, forged
from pki.rotating import activate, prepare, serving, until_signing
from pki.verifiers.java import Java
from pki.verifiers.verifier import Shown, Verifier
from ports import free_port
from rotating import key_file, pass_time
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws
from acme_iid.store.database import open_store

NAME = "foo.local"
MOMENTS = ("before", "prepared", "activated", "retired")


@dataclass
class Company:
    """A CA that rotates while others verify.

    :ivar folder: for what is shown to verifiers.
    :ivar good: for each issuer that has issued a chain, the leaf first.
    :ivar revoked: the same, with a leaf that was revoked.
    """

    ca: CA
    folder: Path
    good: dict[str, str] = field(default_factory=dict)
    revoked: dict[str, str] = field(default_factory=dict)
    _prepared: str = ""
    _numbers: Iterator[int] = field(default_factory=count)

    def go_on_to(self, moment: str) -> None:
        """Live on until a moment of the rotation; they are asked for in their order."""
        if moment == "before":
            self._issue(self.ca.issuer_id)
        elif moment == "prepared":
            self._prepared = prepare(self.ca)
        elif moment == "activated":
            activate(self.ca, self._prepared)
            until_signing(self.ca, self._prepared)
            self._issue(self._prepared)
        elif moment == "retired":
            self._retire(next(iter(self.good)))

    def _retire(self, issuer: str) -> None:
        """Retire the first issuer, as if an hour had passed, and destroy its key."""
        with closing(open_store(self.ca.store_url)) as database:
            pass_time(database)
        self.ca.cli("issuer", "rotate", "retire", issuer, "--while-valid")
        key_file(self.ca.home, issuer).unlink()
        # A server that starts has no key to sign with.
        self.ca.stop()
        self.ca.start()

    def shown(self, chain: str, name: str = NAME) -> Shown:
        return Shown(self.folder / str(next(self._numbers)), chain, self.ca.root.read_text(), name)

    def _issue(self, issuer: str) -> None:
        """Have the issuer that signs now issue a leaf that stays good, and one that does not."""
        account, vm = self.ca.account(), answer(aws.Instance(account=ACCOUNT))
        good, bad = (account.obtain(NAME, answer=vm) for _ in range(2))
        revoke(account, bad, 4)
        self.good[issuer], self.revoked[issuer] = good.chain, bad.chain


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    ca, port = CA(tmp_path_factory.mktemp("company") / "ca"), free_port()
    ca.init(constrained=True, made_with=("--root-crl-url", f"http://127.0.0.1:{port}/root-crl/{{root}}"))
    http_status.turn_on(ca, port)
    with serving(ca):
        ca.cli("issuer", "root-crl", "sign", "--root-cert", ca.root, "--root-key", ca.root_key,
               "--out", ca.home / "root.crl")  # fmt: skip
        ca.cli("issuer", "root-crl", "import", ca.home / "root.crl")
        yield Company(ca, tmp_path_factory.mktemp("shown"))


@pytest.fixture(scope="module", params=MOMENTS)
def moment(request: pytest.FixtureRequest, company: Company) -> str:
    name = str(request.param)
    company.go_on_to(name)
    return name


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The root of another CA of the same name, PEM."""
    ca = CA(tmp_path_factory.mktemp("strange") / "ca")
    ca.init()
    return ca.root.read_text()


def test_a_leaf_of_every_issuer_is_accepted(moment: str, company: Company, verifier: Verifier) -> None:
    assert len(company.good) == 1 + (moment not in ("before", "prepared"))
    for chain in company.good.values():
        shown = company.shown(chain)
        assert (verifier.chain(shown), verifier.by_list(shown), verifier.by_answer(shown)) == (None, None, None)


@pytest.mark.usefixtures("moment")
def test_a_revoked_leaf_is_refused_by_list_and_ocsp(company: Company, verifier: Verifier) -> None:
    for chain in company.revoked.values():
        shown = company.shown(chain)
        assert verifier.chain(shown) is None
        assert "revoked" in (verifier.by_list(shown) or "").lower()
        assert "revoked" in (verifier.by_answer(shown) or "").lower()


@pytest.mark.usefixtures("moment")
def test_a_leaf_is_refused_under_another_root(company: Company, verifier: Verifier, strange: str) -> None:
    for chain in company.good.values():
        assert verifier.chain(replace(company.shown(chain), root=strange)) is not None


@pytest.mark.usefixtures("moment")
@pytest.mark.parametrize("kind", FORBIDDEN)
def test_forged_names_outside_the_constraints_are_refused(company: Company, verifier: Verifier, kind: str) -> None:
    issuer = list(company.good)[-1]
    permitted = x509.DNSName(NAME)
    assert verifier.chain(company.shown(forged(company.ca, issuer, permitted))) is None
    # Beside a permitted name, so that nothing but the constraints can be the reason.
    chain = forged(company.ca, issuer, permitted, FORBIDDEN[kind])
    assert (verifier.chain(company.shown(chain)) is None) == (kind in verifier.overlooks)


@pytest.mark.usefixtures("moment")
def test_javas_default_check_of_revocation_passes(company: Company, java: Java) -> None:
    for issuer, chain in company.good.items():
        assert java.by_default(company.shown(chain)) is None
        assert "revoked" in (java.by_default(company.shown(company.revoked[issuer])) or "")
