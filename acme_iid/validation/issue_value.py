"""The issue-value of RFC 8659 section 4.2: ``ca.example; tag=value; tag=value``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")
_PARAMETER = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)[ \t]*=[ \t]*([!-:<-~]*)\Z")


@dataclass(frozen=True, slots=True)
class IssueValue:
    """The CA that may issue, and its conditions.

    :ivar domain: the issuer domain name in lower case; empty if no CA may issue.
    :ivar parameters: by their tags, as they are written.
    """

    domain: str
    parameters: Mapping[str, str]


def read(text: bytes) -> IssueValue:
    """Read an issue-value.

    :raises ValueError: if the text is not an issue-value, or has a parameter twice: both conditions would count.
    """
    domain, *rest = text.decode("ascii").split(";")
    domain = domain.strip(" \t")
    if domain and not _DOMAIN.match(domain):
        raise ValueError("the issuer's name is not a domain name")
    parameters: dict[str, str] = {}
    for part in rest:
        if not part.strip(" \t"):
            continue  # a semicolon at the end
        match = _PARAMETER.match(part.strip(" \t"))
        if match is None or match[1] in parameters:
            raise ValueError("the parameters are not each tag=value, once")
        parameters[match[1]] = match[2]
    return IssueValue(domain.lower(), parameters)
