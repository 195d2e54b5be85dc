"""The ACME resources (RFC 8555 section 7): each view reads a signed request, calls one use case and renders."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from urllib.parse import parse_qsl

from flask import Blueprint

from acme_iid.authority import (
    Authority,
    accounts,
    authorizations,
    challenges,
    enrolments,
    finalization,
    orders,
    reading,
    renewal,
    revocation,
)
from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol.renewal import retry_after
from acme_iid.protocol.resources import Account, Authorization, Challenge, Order
from acme_iid.protocol.status import next_validation_end
from acme_iid.serving.messages import Answer, Request
from acme_iid.store.writes import Reader, Write, then
from acme_iid.web import external_binding, problems, render
from acme_iid.web.application import Application, Headers
from acme_iid.web.direct import Door, Open, Signed, as_get
from acme_iid.web.jws import Gate, SignedRequest, decode_field, require_account, require_jwk

_ORDER = "/acme/order/"
_NUMBER = re.compile("[1-9][0-9]{0,17}", re.ASCII)


class Resources:
    """The ACME blueprint's views over one authority."""

    def __init__(self, authority: Authority, door: Door) -> None:
        self.authority = authority
        self.door = door
        self.links = door.gate.links
        self.formats = authority.config.policy.formats()
        self.issuer = authority.config.issuer_domain

    def add_to(self, app: Application) -> None:
        """Add the routes, below /acme."""
        blueprint = Blueprint("acme", __name__, url_prefix="/acme")
        for rule, view in (
            ("/new-account", self.new_account),
            ("/account/<account_id>", self.account),
            ("/account/<account_id>/orders", self.account_orders),
            ("/key-change", self.key_change),
            ("/new-order", self.new_order),
            ("/new-authz", self.new_authorization),
            ("/order/<order_id>", self.order),
            ("/order/<order_id>/finalize", self.finalize),
            ("/authorization/<authorization_id>", self.authorization),
            ("/challenge/<challenge_id>", self.challenge),
            ("/certificate/<certificate_id>", self.certificate),
            ("/certificate/<certificate_id>/<number>", self.chain),
            ("/revoke-cert", self.revoke_cert),
            ("/iid-enrolment", self.iid_enrolment),
        ):
            signed = Signed(self.door, view, evidence=view == self.challenge, signs=view == self.finalize)
            app.add_direct(blueprint, rule, view.__name__, signed, "POST")
        # "in addition to POST-as-GET requests for these resources" (RFC 8555 section 6.3)
        for rule, name, read in (
            ("/directory", "directory", self.directory),
            ("/new-nonce", "new_nonce", self.new_nonce),
        ):
            app.add_direct(blueprint, rule, name, Open(self.door, read, reads=False), "GET")
            app.add_direct(blueprint, rule, f"{name}_as_get", Signed(self.door, as_get(read)), "POST")
        renewal_info = Open(self.door, self.renewal_info, reads=True)
        app.add_direct(blueprint, "/renewal-info/<certificate_id>", "renewal_info", renewal_info, "GET")
        blueprint.register_error_handler(Exception, problems.response_of)
        app.register_blueprint(blueprint)

    def directory(self, _request: Request | None = None) -> Answer:
        """RFC 8555 section 7.1.1."""
        path = self.links.path
        return _json(
            {
                "newNonce": path("/acme/new-nonce"),
                "newAccount": path("/acme/new-account"),
                "newOrder": path("/acme/new-order"),
                "newAuthz": path("/acme/new-authz"),
                "revokeCert": path("/acme/revoke-cert"),
                "keyChange": path("/acme/key-change"),
                "renewalInfo": path("/acme/renewal-info"),
                "meta": self._meta(),
            }
        )

    def _meta(self) -> dict[str, object]:
        settings = self.authority.config.ca
        meta: dict[str, object] = {
            "externalAccountRequired": settings.external_account_required,
            "iidEnrolment": self.links.path("/acme/iid-enrolment"),
        }
        if settings.terms_of_service is not None:
            meta["termsOfService"] = settings.terms_of_service
        if settings.website is not None:
            meta["website"] = settings.website
        if profiles := self.authority.config.profiles:
            meta["profiles"] = {profile.name: profile.description for profile in profiles}
        return meta | render.issuer(self.links, self.authority.config)

    def new_nonce(self, request: Request | None = None) -> Answer:
        """RFC 8555 section 7.2: 200 to HEAD, 204 to GET."""
        return Answer(status=200 if request is not None and request.method == "HEAD" else 204)

    def renewal_info(self, _request: Request, certificate_id: str) -> Answer:
        """RFC 9773 section 4.2; anybody may ask."""
        certificate = renewal.find(self.authority.database, certificate_id)
        answer = _json(render.renewal(renewal.window_of(self.authority.ca, certificate)))
        answer.add("Retry-After", str(retry_after(certificate)))
        return answer

    def new_account(self, reader: Reader, signed: SignedRequest) -> Answer | Write[Answer]:
        """RFC 8555 section 7.3."""
        require_jwk(signed)
        payload = signed.json()
        demanded = payload.get("onlyReturnExisting") is True
        # Before any other member is looked at: with a known key they are ignored, whatever they hold (section 7.3.1).
        known = accounts.find(reader, signed.thumbprint, demanded=demanded)
        if known is not None:
            return self._account(known, 200)
        request = self._new_account(reader, signed, payload)
        made = accounts.create(self.authority, signed.context, reader, request)
        return then(made, lambda made: self._account(made[0], 201 if made[1] else 200))

    def _new_account(self, reader: Reader, signed: SignedRequest, payload: dict[str, object]) -> accounts.NewAccount:
        bound = None
        if payload.get("externalAccountBinding") is not None:
            bound = external_binding.read(reader, signed, payload["externalAccountBinding"])
        return accounts.NewAccount(
            jwk=signed.jwk,
            thumbprint=signed.thumbprint,
            contact=accounts.contacts(payload.get("contact")),
            terms_agreed=payload.get("termsOfServiceAgreed") is True,
            external_key_id=None if bound is None else bound.key_id,
            external_account_binding=None if bound is None else bound.jws,
        )

    def account(self, reader: Reader, signed: SignedRequest, account_id: str) -> Answer | Write[Answer]:
        """RFC 8555 sections 7.3.2 and 7.3.6: read, update or deactivate."""
        account = _own_account(signed, account_id)
        if not signed.payload:
            return self._account(account, 200)
        payload = signed.json()
        # Any other status, and what cannot be changed, is ignored (RFC 8555 section 7.3.2).
        if payload.get("status") == "deactivated":
            changed = accounts.deactivate(reader, account, signed.context.now)
        else:
            changed = accounts.update(
                self.authority,
                reader,
                account,
                accounts.contacts(payload["contact"]) if "contact" in payload else None,
                signed.context.now,
                agrees=payload.get("termsOfServiceAgreed") is True,
            )
        return then(changed, lambda account: self._account(account, 200))

    def key_change(self, reader: Reader, signed: SignedRequest) -> Answer | Write[Answer]:
        """RFC 8555 section 7.3.5."""
        account = require_account(signed)
        new = self.door.gate.new_key(signed)
        changed = accounts.change_key(signed.context, reader, account, new.jwk, new.thumbprint)
        return then(changed, lambda changed: self._key_changed(*changed))

    def _key_changed(self, holder: Account, changed: bool) -> Answer:
        if not changed:
            raise AcmeError(
                Problem.MALFORMED,
                "the new key is an account's already, the one in Location; make another key",
                status=409,
                headers={"Location": self.links.account(holder.id)},
            )
        return self._account(holder, 200)

    def _account(self, account: Account, status: int) -> Answer:
        answer = _json(render.account(self.links, account), status)
        answer.add("Location", self.links.account(account.id))
        return answer

    def account_orders(self, reader: Reader, signed: SignedRequest, account_id: str) -> Answer | Write[Answer]:
        """RFC 8555 section 7.1.2.1: newest first, in pages."""
        account = _own_account(signed, account_id)
        signed.require_post_as_get()
        page = reading.orders_of_account(reader, account, _cursor(signed.query))
        answer = _json({"orders": [self.links.order(order_id) for order_id in page]})
        if len(page) == reading.PAGE:
            last = page[-1].partition(".")[0]
            answer.add("Link", f'<{self.links.account_orders(account.id)}?before={last}>;rel="next"')
        return answer

    def new_order(self, reader: Reader, signed: SignedRequest) -> Answer | Write[Answer]:
        """RFC 8555 section 7.4."""
        account = require_account(signed)
        request = orders.parse_new_order(signed.json())
        made = orders.new_order(self.authority, signed.context, reader, account, request)
        return then(made, lambda order: self._order(order, signed.context.now, 201))

    def order(self, reader: Reader, signed: SignedRequest, order_id: str) -> Answer | Write[Answer]:
        """An order, read."""
        account = require_account(signed)
        signed.require_post_as_get()
        return self._order(reading.order(reader, account, order_id), signed.context.now)

    def finalize(self, reader: Reader, signed: SignedRequest, order_id: str) -> Answer | Write[Answer]:
        """RFC 8555 section 7.4."""
        account = require_account(signed)
        order = reading.order(reader, account, order_id)
        csr = decode_field(signed.json(), "csr")
        finalized = finalization.finalize(self.authority, signed.context, reader, account, order, csr)
        return then(finalized, lambda order: self._order(order, signed.context.now))

    def _order(self, order: Order, now: int, status: int = 200) -> Answer:
        answer = _json(render.order(self.links, order, now), status)
        answer.add("Location", self.links.order(order.id))
        return _with_retry_after(answer, order.authorizations, now)

    def new_authorization(self, reader: Reader, signed: SignedRequest) -> Answer | Write[Answer]:
        """RFC 8555 section 7.4.1."""
        account = require_account(signed)
        identifier = authorizations.parse_new_authorization(signed.json())
        made = authorizations.new_authorization(self.authority, signed.context, reader, account, identifier)
        return then(made, lambda made: self._new_authorization(made, account, signed.context.now))

    def _new_authorization(self, made: Authorization, account: Account, now: int) -> Answer:
        answer = _json(render.authorization(self.links, made, account, self.formats, self.issuer, now), 201)
        answer.add("Location", self.links.authorization(made.id))
        return answer

    def authorization(self, reader: Reader, signed: SignedRequest, authorization_id: str) -> Answer | Write[Answer]:
        """RFC 8555 sections 7.5 and 7.5.2: read or deactivate."""
        account = require_account(signed)
        current = reading.authorization(reader, account, authorization_id)
        now = signed.context.now
        if not signed.payload:
            return self._authorization(current, account, now)
        if signed.json().get("status") != "deactivated":
            raise AcmeError(Problem.MALFORMED, "an authorization's status can only be set to 'deactivated'")
        deactivated = authorizations.deactivate(reader, current.id, now)
        return then(deactivated, lambda authorization: self._authorization(authorization, account, now))

    def _authorization(self, facts: Authorization, account: Account, now: int) -> Answer:
        answer = _json(render.authorization(self.links, facts, account, self.formats, self.issuer, now))
        return _with_retry_after(answer, (facts,), now)

    def challenge(self, reader: Reader, signed: SignedRequest, challenge_id: str) -> Answer | Write[Answer]:
        """RFC 8555 section 7.5.1: read, or answer."""
        account, now = require_account(signed), signed.context.now
        if not signed.payload:
            located = challenges.find(reader, account, challenge_id)
            return self._challenge(located.authorization, located.challenge, account, now)
        answered = challenges.answer(
            self.authority, signed.context, reader, account, challenge_id, signed.json(), signed.payload
        )
        return then(answered, lambda answered: self._challenge(answered[0], answered[1], account, now))

    def _challenge(self, authorization: Authorization, facts: Challenge, account: Account, now: int) -> Answer:
        answer = _json(render.challenge(self.links, facts, account, self.formats, self.issuer))
        answer.add("Link", f'<{self.links.authorization(authorization.id)}>;rel="up"')
        return _with_retry_after(answer, (authorization,), now)

    def certificate(self, reader: Reader, signed: SignedRequest, certificate_id: str) -> Answer | Write[Answer]:
        """RFC 8555 section 7.4.2."""
        return self.chain(reader, signed, certificate_id, "0")

    def chain(self, reader: Reader, signed: SignedRequest, certificate_id: str, number: str) -> Answer | Write[Answer]:
        """RFC 8555 section 7.4.2: a certificate with one of its chains, and links to the others."""
        account = require_account(signed)
        signed.require_post_as_get()
        certificate = reading.certificate(reader, account, certificate_id)
        chains = reading.chains(self.authority, reader, certificate, signed.context.now)
        if number not in chains:
            raise AcmeError(Problem.MALFORMED, "the certificate has no such chain", status=404)
        answer = Answer(chains.pop(number), content_type="application/pem-certificate-chain")
        for other in chains:
            answer.add("Link", f'<{self.links.chain(certificate_id, other)}>;rel="alternate"')
        return answer

    def revoke_cert(self, reader: Reader, signed: SignedRequest) -> Answer | Write[Answer]:
        """RFC 8555 section 7.6: by an account, or by the certificate's key."""
        payload = signed.json()
        certificate = revocation.find(reader, decode_field(payload, "certificate"))
        reason = revocation.reason(payload.get("reason"))
        if signed.account is not None:
            revoked = revocation.revoke_by_account(signed.context, reader, signed.account, certificate, reason)
        else:
            revoked = revocation.revoke_by_key(signed.context, reader, signed.thumbprint, certificate, reason)
        return revoked.then(lambda _: Answer())

    def iid_enrolment(self, reader: Reader, signed: SignedRequest) -> Answer | Write[Answer]:
        """rfc-notes/iid-01.md, "Enrolment": an external account key for a delegate, or more time for those that are."""
        account = require_account(signed)
        payload = signed.json()
        url, renew = payload.get("order"), payload.get("renew")
        path = self.links.path_of(url) if isinstance(url, str) else ""
        if not path.startswith(_ORDER):
            raise AcmeError(Problem.MALFORMED, "'order' is the URL of an order of this account, a string")
        if renew is not None and not isinstance(renew, str):
            raise AcmeError(Problem.MALFORMED, "'renew' is the id of an enrolment, a string")
        order = reading.order(reader, account, path.removeprefix(_ORDER))
        enrolled = enrolments.enrol(self.authority, signed.context, reader, account, order, renew)
        return then(enrolled, lambda made: _json(render.enrolled(made.enrolment, made.key), 201 if made.made else 200))


def further_headers(gate: Gate) -> Callable[[str, str, str], Headers]:
    """The headers of all answers below /acme: a fresh nonce to a POST, a link to the directory (sections 6.5 and 7.1).

    Requests that no route takes are answered with these, too.
    """
    index = ("Link", f'<{gate.links.directory}>;rel="index"')

    def headers(method: str, path: str, endpoint: str) -> Headers:
        if not path.startswith("/acme/"):
            return
        if method == "POST" or endpoint == "acme.new_nonce":
            yield "Replay-Nonce", gate.nonces.issue(int(time.time()))
            yield "Cache-Control", "no-store"
        if endpoint not in ("acme.directory", "acme.directory_as_get"):
            yield index

    return headers


def _json(body: dict[str, object], status: int = 200) -> Answer:
    return Answer(json.dumps(body), status, "application/json")


def _with_retry_after(answer: Answer, authorizations: Iterable[Authorization], now: int) -> Answer:
    """Say when something may have changed, while anything is processing (RFC 8555 section 8.2)."""
    ends = [at for entry in authorizations if (at := next_validation_end(entry, now)) is not None]
    if ends:
        answer.add("Retry-After", str(min(ends) - now))
    return answer


def _own_account(signed: SignedRequest, account_id: str) -> Account:
    account = require_account(signed)
    if account.id != account_id:
        raise AcmeError(Problem.UNAUTHORIZED, "this is another account")
    return account


def _cursor(query: str) -> int | None:
    """The number of the order below which the page begins that a query asks for; None for the first page."""
    text = dict(parse_qsl(query, keep_blank_values=True)).get("before")
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise AcmeError(Problem.MALFORMED, "this page does not exist; begin with the list's first page")
    return int(text)
