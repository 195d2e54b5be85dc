"""VMs of the three clouds as a raw ACME client needs them: an id, a name to ask for, and evidence that is bound to it.

Whole machines with the client's own commands are :mod:`stand_ins`; these are light, so that there can be hundreds.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import forge_azure
import forge_tokens
from running import answer
from wire import Account, Answer, Issued, Wire

from acme_iid.binding import binding
from acme_iid.simulator import aws, azure, gcp


@dataclass
class CloudVM:
    """A VM with an account of its own.

    :ivar id: the cloud's own word for it.
    :ivar name: the name that it asks for.
    :ivar answer: its answer to a challenge.
    :ivar certificates: those that it got, the latest last.
    """

    id: str
    name: str
    answer: Answer
    account: Account | None = None
    certificates: list[Issued] = field(default_factory=list)

    def joins(self, wire: Wire) -> None:
        """Make an account over a connection, with a new key: what a VM does that was made, or rebuilt."""
        self.account = Account.new(wire)

    def moves(self, wire: Wire) -> None:
        """Go on with its account over another connection."""
        assert self.account is not None
        self.account.wire = wire

    def obtain(self) -> None:
        """Get a certificate; it must."""
        assert self.account is not None
        self.certificates.append(self.account.obtain(self.name, answer=self.answer))

    def refused(self) -> str | None:
        """Ask for a certificate; the CA's reason to refuse, or None, and it has one."""
        assert self.account is not None
        _, (answered,) = self.account.prove(self.name, answer=self.answer)
        if answered.json()["status"] != "valid":
            return str(answered.json()["error"]["detail"])
        self.obtain()
        return None


def of_aws(name: str, **facts: object) -> CloudVM:
    """An EC2 instance, whose document is bound to nothing."""
    instance = aws.Instance(**facts)  # type: ignore[arg-type]
    return CloudVM(instance.instance_id, name, answer(instance))


def of_gcp(name: str, **facts: object) -> CloudVM:
    """A Compute Engine instance, whose tokens are for one challenge."""
    instance = gcp.Instance(instance_name=name.partition(".")[0], **facts)  # type: ignore[arg-type]

    def token(key_authorization: str) -> Mapping[str, str]:
        claims = instance.claims(binding(key_authorization).audience, int(time.time()))
        return {"format": "gcp-identity", "evidence": forge_tokens.google().sign(claims)}

    return CloudVM(instance.instance_id, name, token)


def of_azure(name: str, *, age: int = 0, **facts: object) -> CloudVM:
    """An Azure VM, whose documents are for one challenge.

    :param age: of the documents that it sends, seconds.
    """
    vm = azure.Vm(**facts)  # type: ignore[arg-type]

    def document(key_authorization: str) -> Mapping[str, str]:
        content = vm.document(binding(key_authorization).nonce, int(time.time()) - age)
        data = azure.signed_data(content, _signer())
        return {"format": "azure-attested", "evidence": base64.b64encode(data).decode()}

    return CloudVM(vm.vm_id, name, document)


@cache
def _signer() -> azure.Signer:
    """The metadata service of a region, which signs for all of its VMs."""
    return forge_azure.keys().signer(azure.Vm(), int(time.time()))
