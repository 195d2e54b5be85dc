"""The issue-value of RFC 8659 section 4.2: ``ca.example; tag=value; tag=value``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")
_PARAMETER = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)[ \t]*=[ \t]*([!-:<-~]*)\Z")


@dataclass(frozen=True, slots=True)
class IssueValue:
    """Which CA is meant, and on which conditions.

    :ivar domain: the issuer domain name in lower case; empty if no CA is.
    :ivar parameters: by their tags, as they are written.
    """

    domain: str
    parameters: Mapping[str, str]


def read(text: bytes) -> IssueValue:
    """Read an issue-value.

    :raises ValueError: if it is none, or says something twice: of two conditions none may be passed over.
    """
    domain, *rest = text.decode("ascii").split(";")
    domain = domain.strip(" \t")
    if domain and not _DOMAIN.match(domain):
        raise ValueError("the issuer's name is no domain name")
    parameters: dict[str, str] = {}
    for part in rest:
        if not part.strip(" \t"):
            continue  # a semicolon at the end
        found = _PARAMETER.match(part.strip(" \t"))
        if found is None or found[1] in parameters:
            raise ValueError("the parameters are not each tag=value, once")
        parameters[found[1]] = found[2]
    return IssueValue(domain.lower(), parameters)
