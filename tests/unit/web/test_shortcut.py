"""What is answered without Flask's objects is answered as Flask would, and routed by the same rules."""

from __future__ import annotations

import asyncio
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import CA

from acme_iid.app import create_app
from acme_iid.config import ca_toml
from acme_iid.serving.messages import Answer, Request
from acme_iid.telemetry import request_ids
from acme_iid.web.application import Application

_WORDS = ("acme", "order", "new-order", "certificate", "finalize", "account", "orders", "challenge", "directory", "")
_segments = st.one_of(
    st.sampled_from(_WORDS), st.text("aZ0-_.~", max_size=4), st.text(st.characters(max_codepoint=255), max_size=3)
)
_paths = st.lists(_segments, max_size=6).map(lambda segments: "/" + "/".join(segments))
_acme = st.lists(_segments, max_size=4).map(lambda segments: "/acme/" + "/".join(segments))
_methods = st.sampled_from(("POST", "POST", "GET", "HEAD", "PUT", "OPTIONS"))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The app of a CA that nobody serves."""
    ca = CA(Path(tmp_path_factory.mktemp("shortcut")) / "ca")
    ca.init()
    made = create_app(ca_toml.load(ca.home))
    yield made
    made.close()


def _shown(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """The status, the headers and the body; of a nonce, that there is one. The server counts the body by itself.

    Each answer has an id of its own, which stands in a header and in a problem document.
    """
    names = [name for name, _ in answer.headers if name != "Link"]
    assert len(set(names)) == len(names)
    headers = {name: "a nonce" if name == "Replay-Nonce" else value for name, value in answer.headers}
    headers.pop("Content-Length", None)
    id_ = headers.pop(request_ids.HEADER)
    assert re.fullmatch("[0-9a-f]{16}", id_)
    if answer.body == b"":
        headers.pop("Content-Type", None)  # Flask has one, of nothing
    return answer.status, headers, answer.body.replace(id_.encode(), b"an id")


def _request(method: str, path: str, body: bytes) -> Request:
    return Request(method, "/" + path.lstrip("/"), "", "application/json", "", "127.0.0.1", body,
                   (("Content-Type", "application/json"),))  # fmt: skip


@given(method=_methods, path=st.one_of(_paths, _acme), body=st.sampled_from((b"", b"{}", b"junk")))
def test_a_path_is_answered_with_and_without_flask_alike(app: Application, method: str, path: str, body: bytes) -> None:
    request = _request(method, path, body)
    answer = asyncio.run(app.answer(request))
    if method == "HEAD":
        answer.body = b""  # the server sends none
    request_ids.begin()  # the pool's threads have that of their request
    assert _shown(answer) == _shown(app.by_flask(request))


def test_the_way_through_flask_is_the_one_of_any_wsgi_server(app: Application) -> None:
    request = _request("POST", "/acme/new-order", b"{}")
    begun: list[tuple[str, list[tuple[str, str]]]] = []
    environ = request.environ() | {"wsgi.errors": sys.stderr, "wsgi.input": io.BytesIO(b"{}")}
    body = b"".join(app(environ, lambda status, headers, _info=None: begun.append((status, headers))))  # type: ignore[arg-type]
    assert begun[0][0] == "415 UNSUPPORTED MEDIA TYPE"
    assert body == app.by_flask(request).body


@pytest.mark.parametrize("path", ["new-order", "order/x", "order/x/finalize", "certificate/x/1", "account/x/orders"])
def test_the_paths_of_an_order_are_answered_without_flask(app: Application, path: str) -> None:
    """Else the comparison above would compare Flask with itself."""
    seen: list[str] = []
    app.before_request_funcs[None] = [lambda: seen.append("Flask")]
    try:
        answer = asyncio.run(app.answer(_request("POST", f"/acme/{path}", b"{}")))
    finally:
        del app.before_request_funcs[None]
    assert (answer.status, seen) == (415, [])


def test_flask_sees_no_field_whose_name_has_an_underscore() -> None:
    request = _request("GET", "/", b"")._replace(
        fields=(("X-Forwarded-For", "192.0.2.1"), ("X_Forwarded_For", "192.0.2.2"), ("X-Forwarded-For", "192.0.2.3"))
    )
    assert request.environ()["HTTP_X_FORWARDED_FOR"] == "192.0.2.1,192.0.2.3"
