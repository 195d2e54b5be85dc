"""Who revokes a certificate, who says that its key is compromised, and what is never certified again after that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from enrolling import delegate, issue, whole_id
from responders import Names, Page, Web, add_hosts, settled, standard
from running import ACCOUNT, CA, answer
from wire import Account, Issued, Key, b64, csr, problem

from acme_iid.simulator import aws
from acme_iid.store.database import open_store


@pytest.fixture(scope="module")
def names() -> Iterator[Names]:
    server = Names()
    yield server
    server.close()


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture(scope="module")
def mixed_ca(tmp_path_factory: pytest.TempPathFactory, names: Names, web: Web) -> Iterator[CA]:
    """A CA whose names are proven by instances and by hosts."""
    made = CA(tmp_path_factory.mktemp("mixed") / "ca")
    made.init()
    add_hosts(made, names, web.port)
    made.start()
    yield made
    if made.process is not None:
        made.stop()


def revoke(account: Account, der: bytes, **members: object) -> requests.Response:
    return account.post(account.wire.directory["revokeCert"], {"certificate": b64(der), **members})


def revoke_by_key(account: Account, issued: Issued, reason: int = 1) -> requests.Response:
    """Revoke with a request that the certificate's own key signs."""
    payload = {"certificate": b64(issued.der), "reason": reason}
    return account.wire.post(account.wire.directory["revokeCert"], payload, issued.key)


def ready(account: Account, instance: aws.Instance, name: str) -> requests.Response:
    """An order whose one name is proven."""
    ordered, answers = account.prove(name, answer=answer(instance))
    assert answers[0].json()["status"] == "valid", answers[0].text
    return ordered


def finalize(account: Account, ordered: requests.Response, name: str, key: Key | None = None) -> requests.Response:
    return account.post(ordered.json()["finalize"], {"csr": b64(csr(name, key=key)[1])})


def assert_not_certified(account: Account, instance: aws.Instance, name: str, key: Key) -> None:
    """See a compromised key refused, with what to do, and the order go on with another one."""
    ordered = ready(account, instance, name)
    refused = finalize(account, ordered, name, key)
    assert problem(refused) == "badCSR"
    assert refused.json()["remedy"] == "newKey"
    assert "acme-iid rekey" in refused.json()["detail"]
    assert account.post(ordered.headers["Location"]).json()["status"] == "ready"
    assert finalize(account, ordered, name).status_code == 200


def another() -> aws.Instance:
    return aws.Instance(account=ACCOUNT)


# By whom


@pytest.mark.parametrize("reason", [None, 0, 1, 3, 4, 5])
def test_an_instance_that_holds_the_name_revokes_no_others_certificate(
    shared_ca: CA, account: Account, instance: aws.Instance, reason: int | None
) -> None:
    issued = account.obtain("shared.local", answer=answer(instance))
    other = shared_ca.account()
    other.obtain("shared.local", answer=answer(another()))
    refused = revoke(other, issued.der, **({} if reason is None else {"reason": reason}))
    assert (problem(refused), refused.status_code) == ("unauthorized", 403)
    assert revoke(account, issued.der).status_code == 200


def test_an_accounts_other_instance_is_the_accounts(account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("shared.local", answer=answer(instance))
    account.obtain("shared.local", answer=answer(another()))
    assert revoke(account, issued.der, reason=4).status_code == 200


def test_the_account_that_enrolled_a_delegate_revokes_its_certificates(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    enrolled = delegate(shared_ca, account, instance, "foo.local")
    chain = enrolled.post(issue(enrolled, "foo.local")["certificate"]).content
    der = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
    assert revoke(account, der, reason=5).status_code == 200
    # As one of the account's own does, it closes the name to the instance.
    assert problem(enrolled.order("foo.local")) == "unauthorized"


def test_a_delegate_revokes_nothing_of_the_account_that_enrolled_it(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    enrolled, sibling = (delegate(shared_ca, account, instance, "foo.local") for _ in range(2))
    chain = sibling.post(issue(sibling, "foo.local")["certificate"]).content
    issue(enrolled, "foo.local")
    assert problem(revoke(enrolled, issued.der)) == "unauthorized"
    of_sibling = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
    assert problem(revoke(enrolled, of_sibling)) == "unauthorized"


def control(account: Account, names: Names, web: Web, name: str) -> requests.Response:
    """An order whose one name is proven by http-01."""
    names.set(name, "A", "127.0.0.1")
    ordered = account.order(name)
    found = standard(account, ordered.json(), "http-01")
    web.pages[f"/.well-known/acme-challenge/{found['token']}"] = Page(
        f"{found['token']}.{account.key.thumbprint}".encode()
    )
    assert account.post(found["url"], {}).status_code == 200
    assert settled(account, found["url"]).json()["status"] == "valid"
    return ordered


def test_a_hosts_certificate_is_revoked_by_who_controls_its_names(mixed_ca: CA, names: Names, web: Web) -> None:
    host, holder, successor = (mixed_ca.account() for _ in range(3))
    done = finalize(host, control(host, names, web, "rack.local"), "rack.local")
    der = x509.load_pem_x509_certificate(host.post(done.json()["certificate"]).content).public_bytes(Encoding.DER)
    # An instance may hold the name by the rules, and controls nothing by that.
    holder.obtain("rack.local", answer=answer(another()))
    assert problem(revoke(holder, der)) == "unauthorized"
    control(successor, names, web, "rack.local")
    assert problem(revoke(successor, der, reason=1)) == "badRevocationReason"
    assert revoke(successor, der).status_code == 200


def test_who_controls_a_name_as_a_host_revokes_no_instances_certificate(
    mixed_ca: CA, names: Names, web: Web, instance: aws.Instance
) -> None:
    issued = mixed_ca.account().obtain("vm.local", answer=answer(instance))
    host = mixed_ca.account()
    control(host, names, web, "vm.local")
    assert problem(revoke(host, issued.der)) == "unauthorized"


# keyCompromise


def test_an_account_does_not_say_that_a_key_is_compromised(account: Account, instance: aws.Instance) -> None:
    key, request = csr("foo.local")
    ordered = ready(account, instance, "foo.local")
    done = account.post(ordered.json()["finalize"], {"csr": b64(request)}).json()
    issued = Issued(ordered.headers["Location"], account.post(done["certificate"]).text, key)
    refused = revoke(account, issued.der, reason=1)
    assert problem(refused) == "badRevocationReason"
    assert "0 (unspecified), 3 (affiliationChanged), 4" in refused.json()["detail"]
    assert "the certificate's own key" in refused.json()["detail"]
    assert finalize(account, ready(account, instance, "foo.local"), "foo.local", key).status_code == 200
    assert revoke(account, issued.der, reason=4).status_code == 200


def test_a_key_that_says_so_is_never_certified_again(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    assert revoke_by_key(account, issued).status_code == 200
    assert_not_certified(account, instance, "other.local", issued.key)
    assert_not_certified(shared_ca.account(), another(), "foo.local", issued.key)
    recorded = json.loads(shared_ca.cli("events", "--instance", whole_id(instance), "--json").stdout)
    kinds = [entry["kind"] for entry in recorded]
    assert kinds.count("key.compromised") == 1
    (refused,) = [entry for entry in recorded if entry["kind"] == "finalize.refused"]
    assert refused["identifiers"] == ["other.local"]


@pytest.mark.parametrize("reason", [0, 4])
def test_another_reason_leaves_the_key_usable(account: Account, instance: aws.Instance, reason: int) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    assert revoke_by_key(account, issued, reason).status_code == 200
    assert finalize(account, ready(account, instance, "bar.local"), "bar.local", issued.key).status_code == 200


def test_a_key_says_so_after_a_revocation_for_another_reason(account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    assert revoke(account, issued.der, reason=4).status_code == 200
    assert problem(revoke_by_key(account, issued)) == "alreadyRevoked"
    assert_not_certified(account, instance, "foo.local", issued.key)


def test_an_operator_says_so_by_a_certificate(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    shared_ca.cli("certificate", "revoke", str(issued.leaf.serial_number), "--reason", "keyCompromise")
    assert_not_certified(account, instance, "bar.local", issued.key)


def test_an_operator_says_so_of_a_certificate_that_was_revoked(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    assert revoke(account, issued.der, reason=4).status_code == 200
    done = shared_ca.try_cli("certificate", "revoke", str(issued.leaf.serial_number), "--reason", "keyCompromise")
    assert "revoked before" in done.stderr
    assert_not_certified(account, instance, "foo.local", issued.key)


def test_a_block_that_revokes_says_so_of_all_keys(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    former, present = (account.obtain("foo.local", answer=answer(instance)) for _ in range(2))
    assert revoke(account, former.der, reason=4).status_code == 200
    shared_ca.cli("instance", "block", whole_id(instance), "--revoke")
    for issued in (former, present):
        assert_not_certified(shared_ca.account(), another(), "foo.local", issued.key)


def test_a_key_stays_compromised_after_pruning_and_restoring(
    own_ca: CA, instance: aws.Instance, tmp_path: Path
) -> None:
    own_ca.start()
    account = own_ca.account()
    issued = account.obtain("foo.local", answer=answer(instance))
    assert revoke_by_key(account, issued).status_code == 200
    own_ca.stop()
    with closing(open_store(own_ca.store_url)) as store, store.transaction() as transaction:
        for column in ("certificates SET not_after", "orders SET expires_at"):
            transaction.run(f"UPDATE {column} = 1")
    assert "1 certificates" in own_ca.cli("prune").stdout
    own_ca.cli("backup", tmp_path / "backup.tar")
    restored = CA(tmp_path / "elsewhere" / "ca", port=own_ca.port)
    restored.cli("restore", tmp_path / "backup.tar")
    restored.start()
    try:
        assert_not_certified(restored.account(), another(), "foo.local", issued.key)
    finally:
        restored.stop()


# Account keys


def test_a_compromised_key_is_no_accounts(account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    assert revoke_by_key(account, issued).status_code == 200
    wire = account.wire
    refused = wire.post(wire.directory["newAccount"], {"termsOfServiceAgreed": True}, issued.key)
    assert problem(refused) == "badPublicKey"
    url = wire.directory["keyChange"]
    inner = wire.body(url, {"account": account.url, "oldKey": account.key.jwk}, issued.key, drop=("nonce",), kid=None)
    assert problem(account.post(url, inner)) == "badPublicKey"
    assert account.post(account.url).json()["status"] == "valid"


def test_an_account_with_a_compromised_key_has_ended(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    same = Account.new(account.wire, issued.key)
    assert revoke_by_key(account, issued).status_code == 200
    assert same.post(same.url).status_code == 401
    assert account.post(account.url).json()["status"] == "valid"
    shown = json.loads(shared_ca.cli("events", "--account", same.url.rpartition("/")[2], "--json").stdout)
    assert (shown[0]["kind"], shown[0]["by"]) == ("account.deactivated", "compromised key")
