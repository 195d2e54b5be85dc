"""The policy of a CA: the names that it offers challenges for, and the names that instances and hosts get. No I/O.

Every question about admission and names is asked here. An order's names go through these steps:

1. :meth:`Policy.offers`, at newOrder: the name is in the domains, permitted by the CA's certificates and not the CA's
   own, and some provisioner may give it.
2. :meth:`Policy.decide`, when evidence is judged: a provisioner admits the instance, and one of its rules gives the
   name. :meth:`Policy.giver` is the same for a host, which proves each name by a standard challenge.
3. :meth:`Policy.still_gives`, when a certificate is made of what was proven: the rules give the name now, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.errors import AttestationError, Remedy, Step
from acme_iid.policy.clouds import is_cloud_name
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.policy.instances import Provisioner, names, refusal_to_admit, refusal_to_name, rule_giving
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier


@dataclass(frozen=True, slots=True)
class Offer:
    """The ways to prove a name.

    :ivar challenges: the types of challenges, iid-01 first.
    :ivar refusal: the reason to refuse an order for the name at once, because no provisioner could ever allow it; None
        if one might.
    """

    challenges: tuple[str, ...]
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """A name is given to an instance.

    :ivar provisioner: the provisioner that gives it.
    :ivar rule: the one rule that gives it: :data:`~acme_iid.policy.instances.OWN_NAME`,
        :data:`~acme_iid.policy.instances.ANY_NAME`, or the entry of ``allow`` or ``allow_wildcards`` in ca.toml.
    :ivar trust_on_first_use: whether first use ties the instance to the account.
    """

    provisioner: Provisioner
    rule: str
    trust_on_first_use: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A name is not given to an instance.

    :ivar step: the step that failed.
    :ivar reasons: a sentence for each provisioner that was asked, by its name; "" where none is asked.
    """

    step: Step
    reasons: Mapping[str, str]

    @property
    def error(self) -> AttestationError:
        """The refusal as an error; an operator can change it."""
        return AttestationError(self.step, "; ".join(filter(None, self.reasons.values())), Remedy.OPERATOR)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules in force.

    :ivar instances: the provisioners for instances of clouds, in the order in which they are tried.
    :ivar hosts: the provisioners for hosts in no cloud, likewise.
    """

    namespace: Namespace = field(default_factory=Namespace)
    instances: tuple[Provisioner, ...] = ()
    hosts: tuple[HostProvisioner, ...] = ()

    @property
    def provisioners(self) -> tuple[Provisioner | HostProvisioner, ...]:
        """All of them, those for instances first."""
        return (*self.instances, *self.hosts)

    def provisioner(self, name: str) -> Provisioner | HostProvisioner | None:
        """The provisioner with a name; None for an unknown name."""
        return next((entry for entry in self.provisioners if entry.name == name), None)

    def formats(self) -> tuple[str, ...]:
        """The formats of evidence that some provisioner accepts, most preferred first."""
        return tuple(dict.fromkeys(name for entry in self.instances for name in entry.formats))

    def gives_profile(self, profile: str | None, *, under: str | None = None) -> bool:
        """Whether certificates of a profile can be given at all; where there is no provisioner, nothing says otherwise.

        :param under: the one provisioner that counts; None for all.
        """
        asked = [entry for entry in self.provisioners if under in (None, entry.name)]
        return not asked or any(entry.gives_profile(profile) for entry in asked)

    def offers(self, identifier: Identifier, profile: str | None = None, *, under: str | None = None) -> Offer:
        """Say by which challenges a name can be proven, before any proof is asked for.

        :param profile: the certificate profile that is wanted: provisioners that do not give it do not count. None
            for any.
        :param under: the one provisioner that counts; None for all.
        """
        instances = [entry for entry in self.instances if under in (None, entry.name) and entry.gives_profile(profile)]
        hosts = [entry for entry in self.hosts if under in (None, entry.name) and entry.gives_profile(profile)]
        standard = tuple(
            dict.fromkeys(challenge for host in hosts for challenge in host.offers(self.namespace, identifier))
        )
        refusal = self._refusal_to_all(instances, identifier)
        # With no provisioner at all iid-01 is what says so.
        by_instances = refusal is None and (bool(instances) or not standard)
        return Offer((CHALLENGE_TYPE, *standard) if by_instances else standard, None if standard else refusal)

    def _refusal_to_all(self, instances: Sequence[Provisioner], identifier: Identifier) -> str | None:
        """The reason why no instance whatever may hold a name; None if one might."""
        if (reason := self.namespace.refusal(identifier)) is not None:
            return reason
        if identifier.wildcard and not any(entry.allow_wildcards for entry in instances):
            return f"{identifier} is a wildcard, and no provisioner gives wildcard names (allow_wildcards)"
        if identifier.type == "ip" or is_cloud_name(identifier.value):
            return None
        if not self.namespace.contains(identifier):
            return self.namespace.outside(identifier)
        if not identifier.wildcard and all(entry.disable_custom_sans for entry in instances):
            return (
                f"{identifier} is a name of the client's choosing, and every provisioner here has disable_custom_sans"
            )
        return None

    def decide(
        self,
        identity: InstanceIdentity,
        identifier: Identifier,
        *,
        others: Collection[Identifier] = (),
        only: str | None = None,
        profile: str | None = None,
    ) -> Decision | Refusal:
        """Decide whether an instance is given a name: by the first provisioner that admits it and gives the name.

        :param others: the further names of the order. A provisioner that gives them all goes before one that does not,
            since an order is proven under one provisioner.
        :param only: the name of the one provisioner to try.
        :param profile: the certificate profile of the order; None for any.
        """
        tried = [entry for entry in self.instances if only in (None, entry.name)]
        if not tried:
            return Refusal(
                Step.ADMISSION,
                {
                    "": f"there is no provisioner named {only!r}"
                    if only is not None
                    else "this CA has no provisioner, so it admits nobody; an operator adds one with "
                    "'acme-iid-ca provisioner add'"
                },
            )
        refusals = {entry.name: refusal_to_admit(entry, identity) for entry in self.instances}
        admitting = [entry for entry in tried if refusals[entry.name] is None]
        if not admitting:
            return Refusal(Step.ADMISSION, {entry.name: refusals[entry.name] or "" for entry in tried})
        able = [entry for entry in admitting if entry.gives_profile(profile)]
        if not able:
            return Refusal(
                Step.ADMISSION,
                {
                    entry.name: f"{entry} does not give the profile {profile!r}; its profiles are "
                    f"{', '.join(entry.profiles or ()) or 'none'}"
                    for entry in admitting
                },
            )
        rules = [(entry, rule_giving(entry, self.namespace, identity, identifier)) for entry in able]
        giving = [(entry, rule) for entry, rule in rules if rule is not None]
        if not giving:
            reasons = {entry.name: refusal_to_name(entry, self.namespace, identity, identifier) or "" for entry in able}
            return Refusal(Step.NAMES, reasons)
        whole = [
            (entry, rule)
            for entry, rule in giving
            if all(rule_giving(entry, self.namespace, identity, other) is not None for other in others)
        ]
        chosen, rule = (whole or giving)[0]
        # Of those that admit an instance, all must have turned first use off: one that relies on it would
        # otherwise see its instance taken by an account that came in through another.
        relying = any(refusals[entry.name] is None and not entry.disable_trust_on_first_use for entry in self.instances)
        return Decision(chosen, rule, trust_on_first_use=relying)

    def giver(self, identifier: Identifier, challenge_type: str, profile: str | None = None) -> HostProvisioner | None:
        """The first provisioner under which a host can prove a name by a type of challenge; None without one.

        :param profile: the certificate profile that it must give; None for any.
        """
        hosts = (entry for entry in self.hosts if entry.gives_profile(profile))
        return next((entry for entry in hosts if challenge_type in entry.offers(self.namespace, identifier)), None)

    def names(self, provisioner: Provisioner, identity: InstanceIdentity) -> tuple[Identifier, ...]:
        """All the names that an instance can be given and that can be listed."""
        return names(provisioner, self.namespace, identity)

    def still_gives(
        self, under: str, identifier: Identifier, challenge_type: str, identity: InstanceIdentity | None
    ) -> str | None:
        """The reason why the rules in force no longer give a name that was proven; None if they do.

        :param under: the provisioner that it was proven under, which is there.
        :param challenge_type: the challenge that proved it.
        :param identity: the instance that proved it; None for a host.
        """
        if identity is not None:
            decision = self.decide(identity, identifier, only=under)
            return str(decision.error.detail) if isinstance(decision, Refusal) else None
        entry = self.provisioner(under)
        if isinstance(entry, HostProvisioner) and challenge_type in entry.offers(self.namespace, identifier):
            return None
        return f"provisioner {under!r} does not give {identifier} by {challenge_type}"
