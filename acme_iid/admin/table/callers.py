"""The act by which callers see who they are here."""

from __future__ import annotations

from typing import TypedDict

from acme_iid.admin.acts import Act, Context
from acme_iid.admin.parameters import Nothing
from acme_iid.admin.roles import Role


class CallerDescription(TypedDict):
    """Whoever asks.

    :ivar via: socket or tls.
    :ivar user: the name of the user of this machine, or the common name of the certificate; null without one.
    :ivar uid: the user's number; null over TLS.
    :ivar role: what they may ask for: viewer, helpdesk, operator or administrator.
    :ivar home: the CA's home on its machine.
    """

    via: str
    user: str | None
    uid: int | None
    role: str | None
    home: str


def _show(context: Context, _asked: Nothing) -> CallerDescription:
    caller = context.caller
    return {
        "via": caller.via, "user": caller.user, "uid": caller.uid, "role": caller.role, "home": str(context.home)
    }  # fmt: skip


ACTS = (
    Act(
        "caller.show", "GET", "/caller", Role.VIEWER, "Who you are here, and with which role.", _show,
        CallerDescription,
    ),
)  # fmt: skip
