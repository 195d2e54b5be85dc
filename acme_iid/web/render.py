"""Resources as clients see them: facts in, JSON objects with derived statuses and URLs out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache

from acme_iid.binding import CHALLENGE_TYPE, binding
from acme_iid.config.settings import Config
from acme_iid.policy.hosts import PERSISTENT
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.renewal import Window
from acme_iid.protocol.resources import Account, Authorization, Challenge, Enrolment, ExternalKey, Order
from acme_iid.protocol.status import Status, of_account, of_authorization, of_challenge, of_order
from acme_iid.web import problems
from acme_iid.web.links import Links


@lru_cache(maxsize=1024)
def timestamp(seconds: int) -> str:
    """A time as ACME writes it (RFC 3339, UTC)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def issuer(links: Links, config: Config) -> dict[str, object]:
    """The part of the directory's ``meta`` about the CA's own name, as far as a provisioner goes by it.

    RFC 8555 section 7.1.1 and draft-ietf-acme-dns-persist-02 sections 3.2 and 4.1.
    """
    body: dict[str, object] = {}
    if any(host.caa for host in config.hosts):
        body["caaIdentities"] = [config.issuer_domain]
    if any(PERSISTENT in host.challenges for host in config.hosts):
        body |= {"issuerDomainNames": [config.issuer_domain], "accountHashPrefix": links.account_hashes}
    return body


def identifier(name: Identifier) -> dict[str, str]:
    """An identifier object."""
    return {"type": name.type, "value": name.value}


def account(links: Links, facts: Account) -> dict[str, object]:
    """RFC 8555 section 7.1.2."""
    body: dict[str, object] = {
        "status": of_account(facts),
        "contact": list(facts.contact),
        "orders": links.account_orders(facts.id),
    }
    if facts.terms_agreed is not None:
        body["termsOfServiceAgreed"] = True
    if facts.external_account_binding is not None:
        body["externalAccountBinding"] = json.loads(facts.external_account_binding)
    return body


def order(links: Links, facts: Order, now: int) -> dict[str, object]:
    """RFC 8555 section 7.1.3."""
    status = of_order(facts, now)
    shown = facts.authorizations
    if status is Status.VALID or (status is Status.INVALID and facts.ended_at is not None):
        # A final order lists the authorizations that were completed.
        shown = tuple(entry for entry in shown if of_authorization(entry, now) is not Status.PENDING)
    body: dict[str, object] = {
        "status": status,
        "expires": timestamp(facts.expires_at),
        "identifiers": [identifier(name) for name in facts.identifiers],
        "authorizations": [links.authorization(entry.id) for entry in shown],
        "finalize": links.finalize(facts.id),
    }
    if facts.profile is not None:
        body["profile"] = facts.profile
    if facts.not_before is not None:
        body["notBefore"] = timestamp(facts.not_before)
    if facts.not_after is not None:
        body["notAfter"] = timestamp(facts.not_after)
    if facts.replaces is not None:
        body["replaces"] = facts.replaces
    if facts.error is not None and status is Status.INVALID:
        body["error"] = problems.document(facts.error)
    if facts.issued_at is not None:
        body["certificate"] = links.certificate(facts.id)
    return body


def authorization(
    links: Links, facts: Authorization, owner: Account, formats: tuple[str, ...], issuer: str | None, now: int
) -> dict[str, object]:
    """RFC 8555 section 7.1.4. Once it is no longer pending, only the challenge that decided it is shown."""
    status = of_authorization(facts, now)
    challenges = facts.challenges
    if status is not Status.PENDING:
        decided = (Status.VALID, Status.INVALID)
        challenges = tuple(c for c in challenges if of_challenge(c) in decided) or challenges
    body: dict[str, object] = {
        "identifier": identifier(facts.identifier),
        "status": status,
        "expires": timestamp(facts.expires_at),
        "challenges": [challenge(links, entry, owner, formats, issuer) for entry in challenges],
    }
    if facts.wildcard:
        body["wildcard"] = True
    return body


def renewal(suggested: Window) -> dict[str, object]:
    """RFC 9773 section 4.2."""
    return {"suggestedWindow": {"start": timestamp(suggested.start), "end": timestamp(suggested.end)}}


def challenge(
    links: Links, facts: Challenge, owner: Account, formats: tuple[str, ...], issuer: str | None
) -> dict[str, object]:
    """RFC 8555 section 7.1.5 and rfc-notes/iid-01.md, "Challenge object"."""
    body: dict[str, object] = {
        "type": facts.type,
        "status": of_challenge(facts),
        "url": links.challenge(facts.id),
        "token": facts.token,
    }
    if facts.type == CHALLENGE_TYPE:
        bound = binding(f"{facts.token}.{owner.thumbprint}")
        body |= {"formats": list(formats), "audience": bound.audience, "nonce": bound.nonce}
        if facts.validated_at is not None:
            body["names"] = [identifier(name) for name in facts.names]
    if facts.type == PERSISTENT:
        # Both the names of draft-ietf-acme-dns-persist-02 and those of -01, which today's clients read.
        del body["token"]
        body |= {"issuerDomainNames": [issuer], "issuer-domain-names": [issuer], "accounturi": links.account(owner.id)}
    if facts.validated_at is not None:
        body["validated"] = timestamp(facts.validated_at)
    if facts.error is not None:
        body["error"] = problems.document(facts.error)
    return body


def enrolled(facts: Enrolment, key: ExternalKey | None) -> dict[str, object]:
    """rfc-notes/iid-01.md, "Enrolment"; ``key`` is shown this once."""
    body: dict[str, object] = {
        "enrolment": facts.id,
        "names": [identifier(name) for name in facts.names],
        "until": timestamp(facts.expires_at),
    }
    if key is not None:
        assert key.expires_at is not None
        body |= {"kid": key.id, "hmacKey": key.secret, "expires": timestamp(key.expires_at)}
    return body
