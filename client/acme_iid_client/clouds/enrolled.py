"""A user whom somebody else on the machine has enrolled: it has no metadata service to ask, and needs none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acme_iid.binding import Binding
from acme_iid.iid01 import IID01Response
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories


@dataclass(frozen=True, slots=True)
class EnrolledKey:
    """The key that ``acme-iid enroll --for-user`` hands to a user.

    :ivar ca_url: the CA's address.
    :ivar enrolment: the enrolment's id.
    :ivar names: the names that it is for, canonical.
    :ivar kid: the external account key, which makes one account.
    :ivar hmac_key: base64url.
    """

    ca_url: str
    enrolment: str
    names: tuple[str, ...]
    kid: str
    hmac_key: str


def file_of(state: Path, ca: str) -> Path:
    """The file of a user's key for a CA.

    :param ca: the name under which the CA's things are kept, its root's fingerprint.
    """
    return state / "enrolled" / f"{directories.safe_name(ca)}.json"


def save(state: Path, ca: str, key: EnrolledKey) -> Path:
    """Keep what was given, for the user alone; returns the file."""
    file = file_of(state, ca)
    directories.make_directory(file.parent)
    directories.write_file(file, json.dumps(asdict(key), indent=2).encode() + b"\n")
    return file


def load(state: Path, ca: str) -> EnrolledKey | None:
    """This user's key for a CA; None without one.

    :raises ClientError: if it cannot be read.
    """
    file = file_of(state, ca)
    try:
        return of_json(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ClientError(f"{file} cannot be read. 'acme-iid enroll --for-user' writes it anew.") from error


def of_json(content: Mapping[str, Any]) -> EnrolledKey:
    """A key as its file has it.

    :raises KeyError: if something is missing; or TypeError.
    """
    return EnrolledKey(
        str(content["ca_url"]),
        str(content["enrolment"]),
        tuple(map(str, content["names"])),
        str(content["kid"]),
        str(content["hmac_key"]),
    )


class Enrolled:
    """In the place of a cloud: the names are those that were enrolled, and there is no evidence of them."""

    title = "an enrolled user"
    base = ""
    formats: tuple[str, ...] = ()

    def __init__(self, key: EnrolledKey) -> None:
        self.key = key

    def probe(self, seconds: float) -> None:
        """Ask nobody: what was given says it."""

    def instance(self) -> str:
        """The id under which the account key is kept."""
        return f"enrolment:{self.key.enrolment}"

    def names(self) -> tuple[str, ...]:
        """The names that were enrolled."""
        return self.key.names

    def facts(self) -> Mapping[str, str]:
        """The enrolment, for people to read."""
        return {"enrolment": self.key.enrolment}

    def evidence(self, kind: str, binding: Binding) -> IID01Response:  # noqa: ARG002 - a cloud's interface
        """Refuse: the account that enrolled this user has the evidence."""
        raise ClientError(
            f"This user was enrolled for {', '.join(self.key.names)} and has no evidence of its own ({kind})."
        )
