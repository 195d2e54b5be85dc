"""Use cases under an issuer whose key is elsewhere: where nothing waits for it, it is not asked."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from acting import FOO, Actor, context, now
from certificate_status_requests import question
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from wire import csr

from acme_iid.authority import Authority, certificate_status, finalization, reading
from acme_iid.authority.context import MustWaitError
from acme_iid.errors import SignerError
from acme_iid.issuance import keys
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import Issuer, Signer
from acme_iid.issuance.responder import ResponderError, Responders
from acme_iid.operations.responding import Responding
from acme_iid.operations.signer_watch import SignerWatch
from acme_iid.protocol.status import Status, of_order
from acme_iid.signing.keys import foreign_key
from acme_iid.signing.places import ProgramPlace
from acme_iid.simulator import aws


class Place:
    """A place that holds an issuer's key here; it is asked by one thread after another."""

    def __init__(self, key: keys.PrivateKey) -> None:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key
        self.asked = 0
        self.is_away = False
        self.free = threading.Event()
        self.free.set()

    def ask(self, message: Mapping[str, object]) -> Mapping[str, object]:
        self.asked += 1
        assert self.free.wait(60)
        if self.is_away:
            raise SignerError("it is away")
        signature = self.key.sign(base64.b64decode(str(message["tbs"])), ec.ECDSA(hashes.SHA256()))
        return {"signature": base64.b64encode(signature).decode()}

    def release(self) -> None:
        pass


def moved(authority: Authority) -> tuple[Authority, Place]:
    """The same CA, with the key of its issuer elsewhere."""
    issuer = authority.ca.current
    place = Place(issuer.signer.key)
    key = foreign_key(ProgramPlace(("/bin/sign",), "acme"), place, issuer.certificate.public_key())
    elsewhere = Issuer(Signer(issuer.certificate, key), issuer.root, issuer.above)
    return replace(authority, ca=CertificateAuthority(authority.ca.trusted, [elsewhere])), place


def test_a_request_that_may_not_wait_asks_no_key_elsewhere(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    order = actor.ready(instance)
    actor.authority, place = moved(authority)
    with pytest.raises(MustWaitError):
        actor.finalize(order)
    assert place.asked == 0
    assert of_order(actor.read(order), now()) is Status.READY


def test_a_key_that_gives_no_signature_leaves_the_order_ready(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    order = actor.ready(instance)
    actor.authority, place = moved(authority)
    place.is_away = True
    asking = context()
    with pytest.raises(SignerError):
        finalization.finalize(
            actor.authority,
            replace(asking, waits=True),
            authority.database,
            actor.account,
            reading.order(authority.database, actor.account, order.id),
            csr(FOO.value)[1],
        )
    assert place.asked == 1
    assert of_order(actor.read(order), now()) is Status.READY


def test_threads_that_need_a_list_ask_once_and_fail_together(authority: Authority) -> None:
    authority, place = moved(authority)
    place.is_away = True
    place.free.clear()
    with ThreadPoolExecutor(8) as pool:
        asking = [
            pool.submit(certificate_status.current_list, authority, authority.ca.current, now()) for _ in range(8)
        ]
        while not place.asked:
            threading.Event().wait(0.01)
        place.free.set()
        assert {type(done.exception()) for done in asking} == {SignerError}
    assert place.asked == 1


def test_a_known_list_is_given_while_another_thread_has_one_signed(authority: Authority) -> None:
    known = certificate_status.current_list(authority, authority.ca.current, now())
    later = known.signed_at + certificate_status.LIST_LIFETIME // 2
    authority, place = moved(authority)
    place.free.clear()
    with ThreadPoolExecutor(1) as pool:
        signing = pool.submit(certificate_status.current_list, authority, authority.ca.current, later)
        while not place.asked:
            threading.Event().wait(0.01)
        assert certificate_status.current_list(authority, authority.ca.current, later) == known
        place.free.set()
        assert signing.result(60).number > known.number
    assert place.asked == 1


def test_a_list_that_cannot_be_signed_is_the_known_one_until_its_end(authority: Authority) -> None:
    known = certificate_status.current_list(authority, authority.ca.current, now())
    authority, place = moved(authority)
    place.is_away = True
    issuer = authority.ca.current
    assert certificate_status.current_list(authority, issuer, known.next_update - 1) == known
    # Just after, nobody waits for the key again.
    assert certificate_status.current_list(authority, issuer, known.next_update - 1) == known
    assert place.asked == 1
    with pytest.raises(SignerError):
        certificate_status.current_list(authority, issuer, known.next_update)


def test_no_question_about_a_certificate_waits_for_a_responder(authority: Authority) -> None:
    authority, place = moved(authority)
    responders = Responders(authority.config.home, None)
    sent = question(authority.ca.current.certificate, 4711)
    with pytest.raises(ResponderError):
        certificate_status.answer(authority, responders, sent, now())
    assert place.asked == 0
    Responding(authority, responders).turn()
    assert place.asked == 1
    certificate_status.answer(authority, responders, sent, now())
    # The key goes away, and the responder that there is goes on until its end.
    place.is_away = True
    path = next((authority.config.home / "secrets").glob("responder_*"))
    ends = responders.of(authority.ca.current.certificate, None, now()).ends
    certificate_status.answer(authority, responders, sent, ends - 60)
    Responding(authority, responders).turn()
    path.unlink()
    Responding(authority, responders).turn()
    assert not path.exists()


def test_a_key_is_asked_whether_it_answers_once_a_minute(authority: Authority) -> None:
    in_a_file = SignerWatch(authority.ca)
    in_a_file.turn()
    assert in_a_file.answers is None
    authority, place = moved(authority)
    watch = SignerWatch(authority.ca)
    for _ in range(3):
        watch.turn()
        assert watch.answers
    # One more application of the process, as after SIGHUP.
    again = SignerWatch(authority.ca)
    again.turn()
    assert (again.answers, place.asked) == (True, 1)
