"""Enrolling: this machine's account hands names that it has proven on to a client that has no evidence.

The CA gives an external account key (RFC 8555 section 7.3.4) for it: one account can be made with it, within ten
minutes. What was enrolled is kept here, without the key, so that it can be proven anew before it runs out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from acme import messages
from josepy.json_util import JSONObjectWithFields, field
from josepy.jwa import ES256

from acme_iid_client.acme.account_terms import Conditions
from acme_iid_client.acme.connection import CaError, Connection
from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.acme.order import Placed, Request, account_here, place
from acme_iid_client.acme.registration import settled
from acme_iid_client.clouds import Cloud
from acme_iid_client.clouds.enrolled import Enrolled
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories
from acme_iid_client.storage.account_options import parse_external_key
from acme_iid_client.x509.names import canonical

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z\Z")


class _EnrolmentRequest(JSONObjectWithFields):
    """The payload of a request to the enrolment resource."""

    order: str = field("order")
    renew: str | None = field("renew", omitempty=True)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An enrolment, as the CA has answered it.

    :ivar id: the enrolment's.
    :ivar names: canonical.
    :ivar until: until when the proof serves, RFC 3339.
    """

    id: str
    names: tuple[str, ...]
    until: str


@dataclass(frozen=True, slots=True)
class Key:
    """An external account key: its id, the MAC key in base64url, and until when it makes an account, RFC 3339."""

    kid: str
    hmac_key: str
    expires: str


def enrol(
    request: Request,
    renew: str | None,
    ca: KnownCA,
    state: Path,
    cloud: Cloud,
    deadline: Deadline,
    notice: Callable[[str], None],
) -> tuple[Enrolment, Key | None]:
    """Prove names, and enrol a client for them.

    :param request: the names; its key is not used, since the order that proves them is not finalized.
    :param renew: the id of the enrolment that is to be extended, for which there is no key.
    :raises CaError: if the CA refuses.
    :raises ClientError: if anything else stands in the way.
    """
    if isinstance(cloud, Enrolled):
        raise ClientError(
            "This user was enrolled itself, so it cannot enrol others. The user with the machine's account can."
        )
    account = settled(account_here(state, ca, cloud, notice), ca, deadline, notice)
    with Connection(ca, account.key, ES256, account.url, deadline, notice) as connection:
        resource = connection.extension("iidEnrolment")
        conditions = Conditions.of(state, ca)
        placed = place(request, connection, account, cloud, conditions, notice)
        if placed.body.status == messages.STATUS_READY:
            # The CA relies on what was proven before, and nobody is enrolled by that.
            _give_up(placed, connection)
            placed = place(placed.request, connection, placed.account, cloud, conditions, notice)
        body = _EnrolmentRequest(order=placed.url, renew=renew)
        answer = connection.post(resource, body, f"The CA refused to enrol {', '.join(placed.request.names)}")
    try:
        content = answer.json()
        names = tuple(canonical(str(name["value"])) for name in content["names"])
        # Without a name, the first of them would be missed later.
        names[0]
        made = Enrolment(_text(content["enrolment"], _ID), names, _text(content["until"], _TIME))
        if renew is not None:
            return made, None
        # The CA's texts are printed as shell text, so they are checked like those that an operator types.
        key = parse_external_key(_text(content["kid"]), _text(content["hmacKey"]), "The CA's answer")
        return made, Key(key.kid, key.hmac_key, _text(content["expires"], _TIME))
    except (ValueError, LookupError, TypeError, ClientError) as error:
        raise CaError("The CA's answer about the enrolment cannot be read.") from error


def _give_up(placed: Placed, connection: Connection) -> None:
    """Deactivate the authorizations of an order, so that the next one is proven anew."""
    for url in placed.body.authorizations or ():
        update = messages.UpdateAuthorization(status=messages.STATUS_DEACTIVATED)
        connection.post(str(url), update, "The CA does not end what was proven before")


def _text(value: object, form: re.Pattern[str] = re.compile("")) -> str:
    """A text of a form.

    :raises ValueError: if the value is not such a text.
    """
    if not isinstance(value, str) or not form.match(value):
        raise ValueError("another form")
    return value


def keep(state: Path, ca: KnownCA, made: Enrolment) -> None:
    """Keep what was enrolled, so that ``--renew`` finds it."""
    directory = _directory(state, ca)
    directories.make_directory(directory)
    content = json.dumps(asdict(made), indent=2).encode() + b"\n"
    directories.write_file(directory / f"{directories.safe_name(made.id)}.json", content)


def kept(state: Path, ca: KnownCA) -> list[Enrolment]:
    """The enrolments that this machine has made at a CA.

    :raises ClientError: if a file cannot be read.
    """
    enrolments = []
    for file in sorted(_directory(state, ca).glob("[!.]*.json")):
        try:
            content = json.loads(file.read_bytes())
            enrolments.append(Enrolment(str(content["id"]), tuple(map(str, content["names"])), str(content["until"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ClientError(f"{file} cannot be read. Remove it, and enrol its names again.") from error
    return enrolments


def forget(state: Path, ca: KnownCA, made: Enrolment) -> None:
    """Forget an enrolment that the CA has ended: no proof extends it."""
    directories.remove_file(_directory(state, ca) / f"{directories.safe_name(made.id)}.json")


def _directory(state: Path, ca: KnownCA) -> Path:
    return state / "enrolments" / ca.identity
