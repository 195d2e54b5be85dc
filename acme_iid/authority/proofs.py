"""Renewal in three requests: what an account has proven lately counts for its next order (rfc-notes/iid-01.md).

A provisioner with a ``proof_lifetime`` lets a new order rely on the proofs of earlier ones: of the same account, for
the same names, by one instance, which it would admit now. All that can end a proof is checked when the order is made
and when it is finalized, and the guards of both writes check it again. A proof counts from the time of its evidence,
and relying on it makes no further one, so that use never prolongs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.authority import Authority
from acme_iid.authority.context import RequestContext
from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.errors import AcmeError, Problem, TrustUnavailableError
from acme_iid.policy.clouds import instance_key
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.policy import Decision
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Instance, Order
from acme_iid.store import instances, orders
from acme_iid.store import proofs as earlier_proofs
from acme_iid.store.chain import Event
from acme_iid.store.writes import Reader, Statement

TIME_TO_FINALIZE = 60
"""Seconds that a proof has to last for an order to rely on it: one that runs out at once could not be finalized."""


@dataclass(frozen=True, slots=True)
class EarlierProof:
    """A challenge that was met in an earlier order.

    :ivar identity: the identity that its evidence proved.
    """

    order: Order
    authorization: Authorization
    challenge: Challenge
    identity: InstanceIdentity
    provisioner: Provisioner

    @property
    def made_at(self) -> int:
        """When its evidence was made; of evidence without a date, when the challenge was met."""
        validated_at = self.challenge.validated_at or 0
        dated_at = self.identity.dated_at
        return validated_at if dated_at is None else min(dated_at, validated_at)

    @property
    def ends_at(self) -> int:
        """When it serves no further order."""
        return self.made_at + self.provisioner.proof_lifetime


@dataclass(frozen=True, slots=True)
class Reliance:
    """The proofs that a new order relies on: for each name, the newest one by one instance under one provisioner."""

    instance: Instance
    proofs: Mapping[Identifier, EarlierProof]

    @property
    def ends_at(self) -> int:
        """When the first of the proofs serves no further order."""
        return min(proof.ends_at for proof in self.proofs.values())

    def guards(self) -> list[Statement]:
        """The guards of a write besides the account's: neither the instance nor an order of a proof has changed."""
        return _guards(self.instance, [proof.order for proof in self.proofs.values()])

    def event(self, context: RequestContext, account: Account) -> Event:
        """The event of an order that is born ready; ``proof_age`` is of the oldest proof, in seconds."""
        first = min(self.proofs.values(), key=lambda proof: proof.made_at)
        return Event(
            "order.proven",
            context.now,
            account_id=account.id,
            instance=instance_key(self.instance.id),
            cloud=self.instance.cloud,
            detail={
                "names": [name.value for name in self.proofs],
                "provisioner": first.provisioner.name,
                "proofs": list(dict.fromkeys(proof.order.id for proof in self.proofs.values())),
                "proof_age": context.now - first.made_at,
                "image": first.identity.facts.get("image"),
                "region": first.identity.region,
                "format": first.identity.format,
                "key_id": first.identity.key_id,
                "thumbprint": account.thumbprint,
                "remote": context.remote,
            },
        )


def reliance(
    authority: Authority, reader: Reader, account: Account, names: Sequence[Identifier], profile: str | None, now: int
) -> Reliance | None:
    """The earlier proofs of an account that count for a new order; None if its names have to be proven.

    :param account: one that proves names itself, and no delegate.
    """
    config = authority.config
    lifetimes = [entry.proof_lifetime for entry in config.policy.instances if entry.gives_profile(profile)]
    longest = max(lifetimes, default=0)
    if longest == 0:
        return None
    known: dict[str, Instance | None] = {}
    counting: dict[tuple[str, str], dict[Identifier, EarlierProof]] = {}
    for order in earlier_proofs.earlier(reader, account.id, names, now - longest):
        for entry in order.authorizations:
            met = _met_in(order, entry) if entry.name in names else None
            if met is None or met.proof is None or met.proof.instance is None:
                continue
            pair = (met.proof.instance, met.proof.provisioner)
            if entry.name in counting.get(pair, ()):
                continue
            if pair[0] not in known:
                known[pair[0]] = instances.get(reader, pair[0])
            proof = _earlier_proof(authority, order, entry, met)
            if proof is not None and _counts(authority, account, known[pair[0]], proof, profile, now):
                counting.setdefault(pair, {})[entry.name] = proof
    fitting = [(pair[0], proofs) for pair, proofs in counting.items() if len(proofs) == len(names)]
    if len(fitting) != 1:
        # With two there would be a choice of what the certificate says, which the client makes with its evidence.
        return None
    instance_id, proofs = fitting[0]
    instance = known[instance_id]
    return None if instance is None else Reliance(instance, {name: proofs[name] for name in names})


def _counts(
    authority: Authority,
    account: Account,
    instance: Instance | None,
    proof: EarlierProof,
    profile: str | None,
    now: int,
) -> bool:
    """Whether a proof counts for a new order, and the rules give its name now."""
    try:
        if _end(authority, account, instance, proof, now + TIME_TO_FINALIZE, now) is not None:
            return False
    except TrustUnavailableError:
        return False
    policy, name = authority.config.policy, proof.authorization.name
    decision = policy.decide(proof.identity, name, only=proof.provisioner.name, profile=profile)
    return isinstance(decision, Decision)


def guards(authority: Authority, reader: Reader, account: Account, order: Order, now: int) -> list[Statement]:
    """Check the earlier proofs of an order again when it is finalized, and make the guards of its write.

    :returns: nothing for an order whose own challenges were answered.
    :raises AcmeError: ``unauthorized``, if an earlier proof counts no longer.
    :raises TrustUnavailableError: if a key set cannot be had, so that nobody knows; the order stays ready.
    """
    earlier: dict[str, Order | None] = {}
    instance: Instance | None = None
    for entry in order.authorizations:
        proven_in = next((one.proven_in for one in entry.challenges if one.proven_in is not None), None)
        if proven_in is None:
            continue
        if proven_in not in earlier:
            earlier[proven_in] = orders.get(reader, proven_in)
        if instance is None and order.instance_id is not None:
            instance = instances.get(reader, order.instance_id)
        end = _end_of(authority, account, instance, earlier[proven_in], entry, now)
        if end is not None:
            raise AcmeError(
                Problem.UNAUTHORIZED, f"{entry.name} was proven in an earlier order, and {end}; make a new order"
            )
    if instance is None:
        return []
    return _guards(instance, [one for one in earlier.values() if one is not None])


def _end_of(
    authority: Authority,
    account: Account,
    instance: Instance | None,
    earlier: Order | None,
    entry: Authorization,
    now: int,
) -> str | None:
    """Why an authorization can no longer rely on an earlier order, as the rest of a sentence; None if it can."""
    proven = None
    if earlier is not None:
        proven = next((one for one in earlier.authorizations if one.name == entry.name), None)
    met = None if earlier is None or proven is None else _met_in(earlier, proven)
    if earlier is None or proven is None or met is None:
        return "that order is no longer kept"
    proof = _earlier_proof(authority, earlier, proven, met)
    if proof is None:
        return "the provisioner was removed since"
    return _end(authority, account, instance, proof, now, now)


def _guards(instance: Instance, relied_on: Sequence[Order]) -> list[Statement]:
    by_number = {orders.number(order): order for order in relied_on}
    return [instances.proves_still(instance), *(orders.version_unchanged(by_number[n]) for n in sorted(by_number))]


def _met_in(order: Order, entry: Authorization) -> Challenge | None:
    """The authorization's iid-01 challenge that an answer in this very order met; None if there is no such challenge.

    An earlier proof that the order itself relies on is no proof of it, and one made ahead of it is in no order.
    """
    if not entry.id.startswith(f"{order.id}."):
        return None
    met = (one for one in entry.challenges if one.type == CHALLENGE_TYPE and one.validated_at is not None)
    return next((challenge for challenge in met if challenge.proven_in is None), None)


def _earlier_proof(authority: Authority, order: Order, entry: Authorization, met: Challenge) -> EarlierProof | None:
    """The proof in a challenge that was met; None if its provisioner was removed."""
    if met.proof is None or met.identity is None:
        return None
    under = met.proof.provisioner
    provisioner = next((one for one in authority.config.policy.instances if one.name == under), None)
    if provisioner is None:
        return None
    return EarlierProof(order, entry, met, InstanceIdentity.from_json(met.identity), provisioner)


def _end(
    authority: Authority, account: Account, instance: Instance | None, proof: EarlierProof, until: int, now: int
) -> str | None:
    """Why a proof counts no longer, as the rest of a sentence; None if it counts. The rules are not asked here.

    :param until: when it has to count still.
    :raises TrustUnavailableError: if a key set cannot be had.
    """
    order, validated_at = proof.order, proof.challenge.validated_at or 0
    if order.key != account.thumbprint or (account.earlier_thumbprints and order.created_at <= account.key_since):
        return "the account's key was changed since"
    if proof.authorization.deactivated_at is not None or order.ended_at is not None:
        return "the authorization was deactivated since"
    if instance is None or instance.blocked_at is not None or instance.generation != order.generation:
        return "the instance has lost what it had proven"
    if instance.is_held and instance.account_id != account.id:
        return "the instance belongs to another account now"
    if validated_at <= (instance.last_revocation_at or 0):
        return "a certificate of the instance was revoked since"
    lasts = proof.ends_at > until and order.created_at + proof.provisioner.proof_lifetime > now
    if not lasts or validated_at > now:
        return "the proof has run out (proof_lifetime)"
    if not authority.trust.still_believes(proof.identity.believed_by, proof.provisioner.name, now):
        return "the key that signed its evidence is no longer trusted"
    return None
