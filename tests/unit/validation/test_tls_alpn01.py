"""tls-alpn-01 against real TLS servers, right and wrong in one thing each."""

from __future__ import annotations

import ipaddress
import socket
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from responders import Host, Listener, Look, Shown, certificate, closing, digest

from acme_iid.errors import Problem
from acme_iid.validation import validate
from acme_iid.validation.attempt import FEW, SECONDS, ValidationError

RIGHT = digest("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
FOO = x509.DNSName("foo.local")


def fault(look: Look, host: Host, port: int, name: str = "foo.local") -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        validate(look("tls-alpn-01", name), host(tls_port=port))
    return caught.value


@pytest.mark.parametrize("name", ["foo.local", "FOO.Local"])
def test_a_certificate_for_the_name_with_the_digest_proves_it(host: Host, look: Look, name: str) -> None:
    server = Shown(certificate(x509.DNSName(name), digest=RIGHT))
    with closing(server):
        validate(look("tls-alpn-01"), host(tls_port=server.port))
    assert server.asked == ["foo.local"]


@pytest.mark.parametrize(
    ("address", "asked"), [("127.0.0.1", "1.0.0.127.in-addr.arpa"), ("::1", "1." + "0." * 31 + "ip6.arpa")]
)
def test_an_address_is_asked_for_by_its_reverse_name(host: Host, look: Look, address: str, asked: str) -> None:
    name = x509.IPAddress(ipaddress.ip_address(address))
    server = Shown(certificate(name, digest=RIGHT), address=address)
    with closing(server):
        validate(look("tls-alpn-01", address), host(tls_port=server.port))
    assert server.asked == [asked]


@pytest.mark.parametrize(
    "shown",
    [
        certificate(FOO),
        certificate(digest=RIGHT),
        certificate(x509.DNSName("bar.local"), digest=RIGHT),
        certificate(FOO, x509.DNSName("bar.local"), digest=RIGHT),
        certificate(FOO, FOO, digest=RIGHT),
        certificate(FOO, x509.RFC822Name("a@foo.local"), digest=RIGHT),
        certificate(x509.DNSName("*.foo.local"), digest=RIGHT),
        certificate(x509.UniformResourceIdentifier("foo.local"), digest=RIGHT),
        certificate(FOO, digest=digest("another")),
        certificate(FOO, digest=RIGHT, critical=False),
        certificate(FOO, value=RIGHT),
        certificate(FOO, value=b"\x04\x20" + RIGHT + b"\x00"),
        certificate(FOO, value=b"\x03\x20" + RIGHT),
        certificate(FOO, digest=RIGHT, issued_by_another=True),
        certificate(FOO, digest=RIGHT, twice=True),
    ],
    ids=["no digest", "no name", "another name", "two names", "the name twice", "an email too", "a wildcard", "a URI",
         "another digest", "not critical", "no octet string", "something after it", "a bit string", "not self-signed",
         "the digest twice"],
)  # fmt: skip
def test_a_certificate_that_is_wrong_in_one_thing_proves_nothing(host: Host, look: Look, shown: tuple) -> None:  # type: ignore[type-arg]
    server = Shown(shown)
    with closing(server):
        error = fault(look, host, server.port)
    assert (error.fault.problem, error.worth) == (Problem.INCORRECT_RESPONSE, FEW)


def test_a_certificate_with_a_key_that_is_not_accepted_proves_nothing(host: Host, look: Look) -> None:
    server = Shown(certificate(FOO, digest=RIGHT, key=rsa.generate_private_key(3, 2048)))
    with closing(server):
        error = fault(look, host, server.port)
    assert (error.fault.problem, error.worth) == (Problem.INCORRECT_RESPONSE, FEW)
    assert "has a key that is not accepted: the RSA key's public exponent" in error.fault.detail


def test_an_address_is_not_proven_by_a_name_that_reads_like_it(host: Host, look: Look) -> None:
    server = Shown(certificate(x509.DNSName("127.0.0.1"), digest=RIGHT))
    with closing(server):
        assert fault(look, host, server.port, "127.0.0.1").fault.problem is Problem.INCORRECT_RESPONSE


@pytest.mark.parametrize("protocols", [(), ("h2", "http/1.1")])
def test_a_server_that_does_not_speak_the_protocol_is_a_tls_problem(
    host: Host, look: Look, protocols: tuple[str, ...]
) -> None:
    server = Shown(certificate(FOO, digest=RIGHT), protocols)
    with closing(server):
        assert fault(look, host, server.port).fault.problem is Problem.TLS


def test_what_is_no_tls_is_a_tls_problem(host: Host, look: Look) -> None:
    server = Listener(lambda stream: stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with closing(server):
        assert fault(look, host, server.port).fault.problem is Problem.TLS


def test_a_connection_that_is_closed_at_once_is_a_problem_of_the_hosts(host: Host, look: Look) -> None:
    server = Listener(lambda stream: stream.close())
    with closing(server):
        assert fault(look, host, server.port).fault.problem in (Problem.TLS, Problem.CONNECTION)


def test_a_handshake_that_never_ends_is_cut_off_in_time(host: Host, look: Look) -> None:
    def wait(stream: socket.socket) -> None:
        while stream.recv(4096):
            pass

    server = Listener(wait)
    started = time.monotonic()
    with closing(server):
        assert fault(look, host, server.port).fault.problem is Problem.CONNECTION
    assert time.monotonic() - started < SECONDS + 60
