"""http-01 against real web servers, honest and hostile."""

from __future__ import annotations

import socket
import time

import pytest
from cryptography import x509
from responders import Host, Listener, Look, Names, Page, Web, certificate, closing, context

from acme_iid.config.parsers import listen_address, network
from acme_iid.errors import Problem
from acme_iid.policy.namespace import Namespace
from acme_iid.validation import validate
from acme_iid.validation.attempt import FEW, MANY, ONCE, SECONDS, ValidationError
from acme_iid.validation.http01 import MAX_REDIRECTS

PATH = "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
RIGHT = b"evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


LED_NOWHERE = "redirects, and the redirect does not lead to the key authorization"


def fault(look: Look, host: Host, name: str = "foo.local", **changes: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        validate(look("http-01", name), host(**changes))
    return caught.value


def led_nowhere(error: ValidationError, port: int) -> bool:
    """Whether an error is the one that says nothing of what is behind a redirect."""
    said = (error.fault.problem, error.fault.detail, error.worth)
    return said == (Problem.INCORRECT_RESPONSE, f"http://foo.local:{port}{PATH} {LED_NOWHERE}", FEW)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" \t\n\n"])
def test_the_key_authorization_is_found_with_white_space_after_it(host: Host, look: Look, web: Web, end: bytes) -> None:
    web.pages[PATH] = Page(RIGHT + end)
    validate(look("http-01"), host())
    assert web.seen == [(f"foo.local:{web.port}", PATH)]


@pytest.mark.parametrize(
    "page",
    [
        Page(b""),
        Page(RIGHT[:-1]),
        Page(b" " + RIGHT),
        Page(RIGHT + b"\x00"),
        Page(RIGHT + b"\x0b"),
        Page(RIGHT + b"x"),
        Page(RIGHT + b"\n" + RIGHT),
        Page(RIGHT.lower()),
        Page(RIGHT, 404),
        Page(RIGHT, 201),
        Page(RIGHT, 500),
        Page(RIGHT + b" " * 2000),
    ],
)
def test_anything_else_is_an_incorrect_response(host: Host, look: Look, web: Web, page: Page) -> None:
    web.pages[PATH] = page
    error = fault(look, host)
    assert (error.fault.problem, error.worth) == (Problem.INCORRECT_RESPONSE, FEW)


def test_what_a_host_answers_is_never_repeated(host: Host, look: Look, web: Web) -> None:
    web.pages[PATH] = Page(b"password=hunter2")
    assert "hunter2" not in fault(look, host).fault.detail


def test_an_address_is_proven_at_that_address(host: Host, look: Look, web: Web) -> None:
    web.pages[PATH] = Page(RIGHT)
    validate(look("http-01", "127.0.0.1"), host())
    assert web.seen == [(f"127.0.0.1:{web.port}", PATH)]


def test_an_ipv6_address_has_brackets_in_the_host_header(host: Host, look: Look) -> None:
    web = Web("::1")
    with closing(web):
        web.pages[PATH] = Page(RIGHT)
        validate(look("http-01", "::1"), host(http_port=web.port))
    assert web.seen == [(f"[::1]:{web.port}", PATH)]


def test_the_other_family_is_tried_when_one_cannot_be_connected_to(
    host: Host, look: Look, names: Names, web: Web
) -> None:
    names.set("foo.local", "AAAA", "::1")
    web.pages[PATH] = Page(RIGHT)
    validate(look("http-01"), host())
    assert web.seen == [(f"foo.local:{web.port}", PATH)]


def test_a_name_that_nobody_listens_for_is_a_connection_problem(host: Host, look: Look, web: Web) -> None:
    web.close()
    error = fault(look, host)
    assert (error.fault.problem, error.worth) == (Problem.CONNECTION, MANY)
    assert "Connection refused" in error.fault.detail


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(host: Host, look: Look, names: Names, web: Web, status: int) -> None:
    names.set("www.foo.local", "A", "127.0.0.1")
    web.pages[PATH] = Page(status=status, headers={"Location": f"http://www.foo.local:{web.port}/elsewhere?a=b"})
    web.pages["/elsewhere?a=b"] = Page(RIGHT)
    validate(look("http-01"), host())
    assert web.seen[-1] == (f"www.foo.local:{web.port}", "/elsewhere?a=b")


def test_a_relative_redirect_and_one_without_a_port_are_followed(host: Host, look: Look, web: Web) -> None:
    web.pages[PATH] = Page(status=301, headers={"Location": "/second"})
    web.pages["/second"] = Page(status=301, headers={"Location": "http://foo.local/third"})
    web.pages["/third"] = Page(RIGHT)
    validate(look("http-01"), host())


def test_https_is_followed_whatever_its_certificate_says(host: Host, look: Look, web: Web) -> None:
    secure = Web(context=context(certificate(x509.DNSName("another.example")), ()))
    with closing(secure):
        web.pages[PATH] = Page(status=301, headers={"Location": f"https://foo.local:{secure.port}/secure"})
        secure.pages["/secure"] = Page(RIGHT)
        validate(look("http-01"), host(tls_port=secure.port))


def pour_nothing(stream: socket.socket) -> None:
    stream.recv(4096)


@pytest.mark.parametrize(
    "behind",
    [
        "a closed port",
        "a closed address",
        "no such name",
        "no TLS",
        "no HTTP",
        "no answer",
        "a status",
        "another answer",
        "a redirect to another port",
        "a redirect to no URL",
    ],
)
def test_nothing_is_said_of_what_is_behind_a_redirect(
    host: Host, look: Look, names: Names, web: Web, behind: str
) -> None:
    """Each of these would tell an account what is in the networks that only the CA reaches."""
    names.set("inner.local", "A", "169.254.169.254" if behind == "a closed address" else "127.0.0.2")
    target = "nowhere.local" if behind == "no such name" else "inner.local"
    scheme = "https" if behind == "no TLS" else "http"
    web.pages[PATH] = Page(status=302, headers={"Location": f"{scheme}://{target}/inner"})
    servers: list[Web | Listener] = []
    if behind == "no HTTP":
        servers.append(Listener(lambda stream: stream.sendall(b"220 inner ESMTP\r\n"), "127.0.0.2", web.port))
    elif behind == "no answer":
        servers.append(Listener(pour_nothing, "127.0.0.2", web.port))
    elif behind not in ("a closed port", "a closed address", "no such name"):
        inner = Web("127.0.0.2", web.port)
        inner.pages["/inner"] = {
            "a status": Page(b"secret", 401),
            "a redirect to another port": Page(status=301, headers={"Location": "http://secret.local:8443/"}),
            "a redirect to no URL": Page(status=301, headers={"Location": "secret://"}),
        }.get(behind, Page(b"secret"))
        servers.append(inner)
    with closing(*servers):
        error = fault(look, host, tls_port=web.port)
    assert led_nowhere(error, web.port), error.fault
    assert all(server.seen for server in servers if isinstance(server, Web) and behind != "no TLS")


@pytest.mark.parametrize("target", ["other.example", "foo.local.evil", "10.0.0.1", "127.0.0.2", "[::1]"])
def test_a_redirect_goes_only_where_the_provisioner_lets_a_name_be_proven(
    host: Host, look: Look, names: Names, web: Web, target: str
) -> None:
    names.set("other.example", "A", "127.0.0.1")
    names.set("foo.local.evil", "A", "127.0.0.1")
    made = host(networks=(network("127.0.0.1/32"),))
    attempt = look("http-01", may_follow=lambda to: "http-01" in made.offers(Namespace(("local",)), to))
    web.pages[PATH] = Page(status=302, headers={"Location": f"http://{target}:{web.port}/"})
    with pytest.raises(ValidationError, match="which no host of the provisioner may prove") as caught:
        validate(attempt, made)
    assert (caught.value.fault.problem, caught.value.worth) == (Problem.INCORRECT_RESPONSE, ONCE)
    assert len(web.seen) == 1
    for allowed in ("foo.local", "127.0.0.1"):
        web.pages[PATH] = Page(status=302, headers={"Location": f"http://{allowed}:{web.port}/there"})
        web.pages["/there"] = Page(RIGHT)
        validate(attempt, made)


def test_redirects_come_to_an_end(host: Host, look: Look, web: Web) -> None:
    web.pages[PATH] = Page(status=302, headers={"Location": PATH})
    assert led_nowhere(fault(look, host), web.port)
    assert len(web.seen) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "location",
    [
        "http://foo.local:22/",
        "https://foo.local:8443/",
        "ftp://foo.local/",
        "file:///etc/passwd",
        "gopher://foo.local/",
        "http://user@foo.local/",
        "http://user:password@foo.local/",
        "http://:@foo.local/",
        "//user@foo.local/",
        "http://foo.local\\@evil.local/",
        "http://*.foo.local/",
        "http://foo.local:99999/",
        "http://[::1/",
        "http://foo_bar.local/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://foo.local/ HTTP/1.1",
        "http://foo.local/\t",
        "http://foo.local/\x0b",
        "http://foo.local/\x7f",
        "http://foo.local/\x85",
        "/\x1f",
        "http://foo.local/a\r\n Host: evil.local",
        "",
    ],
)
def test_a_redirect_to_anywhere_else_is_refused(host: Host, look: Look, web: Web, location: str) -> None:
    web.pages[PATH] = Page(status=302, headers={"Location": location})
    error = fault(look, host)
    assert error.fault.problem is Problem.INCORRECT_RESPONSE
    assert LED_NOWHERE not in error.fault.detail  # it was not even tried
    assert len(web.seen) == 1


@pytest.mark.parametrize("target", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "evil.local"])
def test_a_redirect_to_loopback_or_metadata_is_never_followed(
    host: Host, look: Look, names: Names, target: str
) -> None:
    """The host is at one loopback address that is named; the rest of loopback stands for what must not be reached."""
    hidden = Web()
    first = Web("127.0.0.2", hidden.port)
    names.set("foo.local", "A", "127.0.0.2")
    names.set("evil.local", "A", "127.0.0.1")
    with closing(first, hidden):
        first.pages[PATH] = Page(status=302, headers={"Location": f"http://{target}:{first.port}/stolen"})
        hidden.pages["/stolen"] = Page(RIGHT)
        error = fault(look, host, networks=(network("127.0.0.2/32"),), http_port=first.port)
    assert led_nowhere(error, first.port)
    assert hidden.seen == []


@pytest.mark.parametrize("answer", ["127.0.0.1", "169.254.169.254", "0.0.0.0"])  # noqa: S104 - nothing is bound
def test_a_name_of_a_closed_address_is_never_connected_to(
    host: Host, look: Look, names: Names, web: Web, answer: str
) -> None:
    names.set("foo.local", "A", answer)
    error = fault(look, host, networks=None)
    assert (error.fault.problem, error.worth) == (Problem.CONNECTION, ONCE)
    assert answer in error.fault.detail
    assert web.seen == []


def test_a_name_that_changes_between_check_and_connection_gains_nothing(host: Host, look: Look, names: Names) -> None:
    hidden = Web()
    honest = Web("127.0.0.2", hidden.port)
    with closing(hidden, honest):
        hidden.pages[PATH] = honest.pages[PATH] = Page(RIGHT)
        names.changes["foo.local", "A"] = [["127.0.0.2"], ["127.0.0.1"]]
        validate(look("http-01"), host(networks=(network("127.0.0.2/32"),), http_port=honest.port))
    assert honest.seen
    assert hidden.seen == []
    assert names.asked.count(("foo.local", "A")) == 1


def test_of_several_addresses_only_those_that_are_open_are_tried(host: Host, look: Look, names: Names) -> None:
    hidden = Web()
    honest = Web("127.0.0.2", hidden.port)
    names.set("foo.local", "A", "127.0.0.1", "127.0.0.2")
    with closing(hidden, honest):
        honest.pages[PATH] = Page(RIGHT)
        validate(look("http-01"), host(networks=(network("127.0.0.2/32"),), http_port=honest.port))
    assert hidden.seen == []


def test_a_huge_body_is_not_read_to_its_end(host: Host, look: Look) -> None:
    sent = 0

    def pour(stream: socket.socket) -> None:
        nonlocal sent
        stream.recv(4096)
        stream.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent += stream.send(b"x" * 65536)

    server = Listener(pour)
    with closing(server):
        error = fault(look, host, http_port=server.port)
    assert error.fault.problem is Problem.INCORRECT_RESPONSE
    assert sent < 16 * 1024 * 1024


@pytest.mark.parametrize("head", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X: y\r\n", b"x"])
def test_an_endless_header_is_cut_off(host: Host, look: Look, head: bytes) -> None:
    def pour(stream: socket.socket) -> None:
        stream.recv(4096)
        stream.sendall(b"HTTP/1.1 200 OK\r\n" if head == b"X: y\r\n" else b"")
        while True:
            stream.sendall(head * 100)

    server = Listener(pour)
    started = time.monotonic()
    with closing(server):
        assert fault(look, host, http_port=server.port).fault.problem is Problem.CONNECTION
    # By its length, long before the attempt's time is over.
    assert time.monotonic() - started < SECONDS + 60


def test_a_body_that_drips_is_cut_off_in_time(host: Host, look: Look) -> None:
    def drip(stream: socket.socket) -> None:
        stream.recv(4096)
        stream.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            stream.sendall(b"x")
            time.sleep(0.2)

    server = Listener(drip)
    started = time.monotonic()
    with closing(server):
        error = fault(look, host, http_port=server.port)
    assert error.fault.problem is Problem.CONNECTION
    assert time.monotonic() - started < SECONDS + 60


def test_what_is_not_http_is_a_connection_problem(host: Host, look: Look) -> None:
    server = Listener(lambda stream: stream.sendall(b"220 mail.foo.local ESMTP\r\n"))
    with closing(server):
        assert fault(look, host, http_port=server.port).fault.problem is Problem.CONNECTION


def test_a_name_that_does_not_exist_is_a_dns_problem(host: Host, look: Look) -> None:
    error = fault(look, host, "nowhere.local")
    assert (error.fault.problem, error.worth) == (Problem.DNS, MANY)


def test_a_name_without_an_address_is_a_dns_problem(host: Host, look: Look, names: Names) -> None:
    names.set("bare.local", "TXT", '"only"')
    assert "neither A nor AAAA" in fault(look, host, "bare.local").fault.detail


def test_a_name_server_that_is_silent_is_a_dns_problem_in_time(host: Host, look: Look, names: Names) -> None:
    names.silent.add("foo.local")
    started = time.monotonic()
    assert fault(look, host).fault.problem is Problem.DNS
    assert time.monotonic() - started < SECONDS + 60


def test_a_name_server_that_is_not_there_is_a_dns_problem(host: Host, look: Look) -> None:
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    error = fault(look, host, resolver=(listen_address(f"127.0.0.1:{port}"),))
    assert error.fault.problem is Problem.DNS
