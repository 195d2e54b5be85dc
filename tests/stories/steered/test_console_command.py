"""``acme-iid-ca console``: a user who may not open the CA's home sees it in a browser, with their role."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from operators import Steered, User, role_table
from running import CA, SECONDS
from strangers import Ground
from typed_commands import command, environment, typed

VIEWER = User("games")


@pytest.fixture(scope="module")
def served(open_ground: Ground) -> Iterator[Steered]:
    """A CA whose ca.toml others may read, and its server."""
    ca = CA(open_ground.own / "seen")
    ca.init(in_a_file=True)
    ca.home.chmod(0o755)
    steered = Steered(ca, open_ground.own / "seen.sock")
    steered.configure(role_table("viewer", users=["games"]))
    steered.start()
    yield steered
    if ca.process is not None:
        ca.stop()


@dataclass
class Browser:
    """A browser, as far as it keeps a cookie and follows where it is sent."""

    host: str
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> tuple[int, str]:
        """A page, behind what it sends the browser on to."""
        for _ in range(5):
            connection = http.client.HTTPConnection(self.host, timeout=SECONDS)
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
            answer = connection.getresponse()
            page = answer.read().decode()
            connection.close()
            for line in answer.headers.get_all("Set-Cookie") or []:
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
            location = answer.headers.get("Location")
            refreshed = re.search(r'http-equiv="refresh" content="0; ?url=([^"]+)"', page)
            if location is None and refreshed is None:
                break
            path = location or (refreshed[1] if refreshed else "")
            path = path.removeprefix(f"http://{self.host}")
        return answer.status, page


@contextmanager
def shown(user: User, *options: str, **where: object) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The console of a user: its process, the host, and the path of the link."""
    process = subprocess.Popen(
        command("console", *options), env=environment(**where), stdout=subprocess.PIPE,  # type: ignore[arg-type]
        stderr=subprocess.PIPE, text=True, cwd="/", **user.who(),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Open this link in a browser on this machine")
        link = re.fullmatch(r"http://(127\.0\.0\.1:\d+)(/\?token=\S+)\n", process.stdout.readline())
        assert link is not None
        yield process, link[1], link[2]
    finally:
        process.kill()
        process.communicate()


def test_the_pages_are_there_for_whoever_has_the_link_once(served: Steered) -> None:
    with shown(VIEWER, home=served.ca.home) as (process, host, path):
        browser = Browser(host)
        status, page = browser.get(path)
        assert status == 200, page
        assert f"unix:{served.socket}" in page
        assert "<script" not in page
        refusals = re.search(r'href="(/[^"]*/refusals)"', page)
        assert refusals is not None, page
        assert browser.get(refusals[1])[0] == 200
        assert Browser(host).get(path)[0] == 403
        assert Browser(host).get("/")[0] == 403
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SECONDS) == 0
        assert process.stderr is not None
        assert f"Asked at unix:{served.socket} as games, with the role viewer.\n" in process.stderr.read()


def test_whoever_may_open_the_home_sees_it_without_a_server(served: Steered) -> None:
    with shown(User(), home=served.ca.home) as (_, host, path):
        status, page = Browser(host).get(path)
        assert status == 200, page
        assert str(served.ca.home) in page


def test_a_taken_port_is_a_sentence(served: Steered) -> None:
    with shown(VIEWER, home=served.ca.home) as (_, host, _path):
        port = host.rpartition(":")[2]
        done = typed(VIEWER, "console", "--port", port, home=served.ca.home)
        assert done.code == 1
        assert f"port {port} of 127.0.0.1 cannot be had: Address already in use" in done.stderr


def test_a_stranger_gets_no_link(served: Steered) -> None:
    done = typed(User("nobody"), "console", home=served.ca.home)
    assert (done.code, done.stdout) == (1, "")
    assert "takes the role viewer, and you have none" in done.stderr
