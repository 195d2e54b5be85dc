"""Questions to the DNS, through the provisioner's own resolver or the system's."""

from __future__ import annotations

import ipaddress
from typing import Any

import dns.exception
import dns.message
import dns.nameserver
import dns.resolver
from dns.name import Name, from_text

from acme_iid.errors import Problem
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.validation.attempt import Deadline, ValidationError
from acme_iid.validation.network import Address

MAX_ALIASES = 8
"""CNAME records that are followed, one after another."""
MAX_RECORDS = 100
"""Records of one name that are looked at."""

_QUESTION_SECONDS = 5.0


class NoSuchNameError(ValidationError):
    """The DNS has no such name at all."""


def texts(name: str, host: HostProvisioner, deadline: Deadline) -> list[bytes]:
    """The TXT records of ``name``, the strings of each put together.

    :param name: without a trailing dot.
    :raises ValidationError: ``dns`` if the name does not exist, or there is no answer.
    """
    return [b"".join(record.strings) for record in records(name, "TXT", host, deadline)]


def addresses(name: str, host: HostProvisioner, deadline: Deadline) -> list[Address]:
    """The addresses of ``name``, IPv6 first; an empty list without any.

    :raises ValidationError: ``dns`` if neither family's question has an answer.
    """
    resolved: list[Address] = []
    fault: ValidationError | None = None
    for kind in ("AAAA", "A"):
        try:
            resolved += [ipaddress.ip_address(record.address) for record in records(name, kind, host, deadline)]
        except ValidationError as error:
            # Some servers know one type of records only, and say of the other that there is no such name.
            fault = error
    if not resolved and fault is not None:
        raise fault
    return resolved


def records(name: str, kind: str, host: HostProvisioner, deadline: Deadline) -> list[Any]:
    """The records of type ``kind`` that ``name`` has, aliases followed; an empty list without any.

    :param name: without a trailing dot.
    :raises ValidationError: ``dns`` if the name does not exist, or there is no answer.
    """
    try:
        return _followed(from_text(name + "."), kind, _resolver(host), deadline)
    except dns.resolver.NXDOMAIN as error:
        raise NoSuchNameError(Problem.DNS, f"the DNS has no {name} (asked for {kind})") from error
    except (TimeoutError, dns.exception.Timeout) as error:
        raise ValidationError(Problem.DNS, f"the DNS gave no answer in time to: {kind} of {name}") from error
    except dns.message.ChainTooLong as error:
        raise ValidationError(Problem.DNS, f"{name} leads to more than {MAX_ALIASES} aliases (CNAME)") from error
    except (dns.exception.DNSException, OSError) as error:
        raise ValidationError(
            Problem.DNS, f"no name server gave a usable answer to: {kind} of {name} ({type(error).__name__})"
        ) from error


def _followed(name: Name, kind: str, resolver: dns.resolver.Resolver, deadline: Deadline) -> list[Any]:
    """A recursive resolver gives the whole chain of aliases; another one has to be asked for each link."""
    for _ in range(MAX_ALIASES + 1):
        answer = resolver.resolve(
            name, kind, search=False, raise_on_no_answer=False, lifetime=deadline.left(_QUESTION_SECONDS)
        )
        if answer.rrset is not None:
            return list(answer.rrset)[:MAX_RECORDS]
        if answer.canonical_name == name:
            return []
        name = answer.canonical_name
    raise dns.message.ChainTooLong


def _resolver(host: HostProvisioner) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=not host.resolver)
    if host.resolver:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(server.host, server.port) for server in host.resolver]
    return resolver
