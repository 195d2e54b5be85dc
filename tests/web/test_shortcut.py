"""What is answered past Flask is answered as Flask would."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import CA

from acme_iid import config
from acme_iid.app import create_app

_WORDS = ("acme", "order", "new-order", "certificate", "finalize", "account", "orders", "challenge", "directory", "")
_segments = st.one_of(
    st.sampled_from(_WORDS), st.text("aZ0-_.~", max_size=4), st.text(st.characters(max_codepoint=255), max_size=3)
)
_paths = st.lists(_segments, max_size=6).map(lambda segments: "/" + "/".join(segments))
_acme = st.lists(_segments, max_size=4).map(lambda segments: "/acme/" + "/".join(segments))
_methods = st.sampled_from(("POST", "POST", "GET", "HEAD", "PUT", "OPTIONS"))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> flask.Flask:
    """The app of a CA that nobody serves."""
    ca = CA(Path(tmp_path_factory.mktemp("shortcut")) / "ca")
    ca.init()
    return create_app(config.load(ca.home))


def _asked(
    wsgi: Callable[..., Iterable[bytes]], method: str, path: str, body: bytes
) -> tuple[str, dict[str, str], bytes]:
    """The status, the headers and the body; of a nonce, that there is one."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/jose+json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
    }
    whole = b"".join(wsgi(environ, lambda status, headers, _info=None: begun.append((status, headers))))
    ((status, headers),) = begun
    assert len({name for name, _ in headers if name != "Link"}) == len([name for name, _ in headers if name != "Link"])
    shown = {name: "a nonce" if name == "Replay-Nonce" else value for name, value in headers}
    return status.upper(), shown, whole


@given(method=_methods, path=st.one_of(_paths, _acme), body=st.sampled_from((b"", b"{}", b"junk")))
def test_a_path_is_answered_with_and_without_flask_alike(app: flask.Flask, method: str, path: str, body: bytes) -> None:
    short = _asked(app.wsgi_app, method, path, body)
    assert short == _asked(lambda *given: flask.Flask.wsgi_app(app, *given), method, path, body)


@pytest.mark.parametrize("path", ["new-order", "order/x", "order/x/finalize", "certificate/x/1", "account/x/orders"])
def test_the_paths_of_an_order_are_in_the_table(app: flask.Flask, path: str) -> None:
    """Else the comparison above would compare Flask with itself."""
    seen: list[str] = []
    app.before_request_funcs[None] = [lambda: seen.append("Flask")]
    try:
        status, headers, _ = _asked(app.wsgi_app, "POST", f"/acme/{path}", b"{}")
    finally:
        del app.before_request_funcs[None]
    assert (status, headers["Content-Type"], seen) == ("400 BAD REQUEST", "application/problem+json", [])
