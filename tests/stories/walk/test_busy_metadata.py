"""Metadata services that are busy for a moment, as those of all clouds are: what comes of it is what comes without."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import forge
import forge_azure
import forge_tokens
import pytest
from stand_ins import EC2, GCE, VM

from acme_iid.binding import Binding
from acme_iid.simulator import aws
from acme_iid.simulator.azure_service import AzureService
from acme_iid.simulator.gcp import MetadataServer
from acme_iid.simulator.listener import NoAnswer, Request, Response, Service, listening
from acme_iid.simulator.server import MetadataService
from acme_iid_client import clouds
from acme_iid_client.clouds.metadata import READ_SECONDS
from acme_iid_client.errors import ClientError

BINDING = Binding(bytes(range(32)))
BUSY = (404, 410, 429, 500, 502, 503, 504)


def service(title: str) -> Service:
    """The metadata service of an instance in this cloud."""
    if title == "AWS":
        return MetadataService(aws.tree(EC2, forge.keys()))
    if title == "GCP":
        return MetadataServer.of(GCE, forge_tokens.google())
    return AzureService(VM, forge_azure.keys())


FORMATS = {"AWS": "aws-rsa2048", "GCP": "gcp-identity", "Azure": "azure-attested"}
PATHS = {
    "AWS": ("/latest/api/token", "/latest/dynamic/"),
    "GCP": ("/computeMetadata/v1/instance/id", "/computeMetadata/v1/instance/service-accounts/"),
    "Azure": ("/metadata/instance", "/metadata/attested/document"),
}


@dataclass
class Busy:
    """A service whose first answers to some path are a status, late, or none.

    :ivar named: whether its busy answers are with the cloud's marks.
    """

    inner: Service
    path: str
    trouble: int | NoAnswer
    count: int
    named: bool = True
    late: float = 0.0
    asked: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def banner(self) -> str:
        return self.inner.banner if self.named else "nginx"

    @property
    def reads(self) -> frozenset[str]:
        return self.inner.reads

    def answer(self, request: Request) -> Response | NoAnswer:
        with self._lock:
            self.asked.append(request.path)
            hit = request.path.startswith(self.path) and self.count > 0
            self.count -= hit
        if not hit:
            return self.inner.answer(request)
        time.sleep(self.late)
        if isinstance(self.trouble, NoAnswer):
            return self.trouble
        google = {"Metadata-Flavor": "Google"} if self.named and "computeMetadata" in request.path else {}
        return Response(HTTPStatus(self.trouble), b'{"error":"busy"}', google)


@contextmanager
def busy(
    title: str, path: str, trouble: int | NoAnswer, count: int, **more: float | bool
) -> Iterator[tuple[str, Busy]]:
    front = Busy(service(title), path, trouble, count, **more)  # type: ignore[arg-type]
    with listening(front) as running:
        yield running.url, front


@pytest.mark.parametrize("status", BUSY)
@pytest.mark.parametrize("title", FORMATS)
def test_a_busy_service_is_its_clouds_and_gives_its_evidence(title: str, status: int) -> None:
    for path in PATHS[title]:
        for named in (True, False):
            with busy(title, path, status, 2, named=named) as (url, _):
                here = clouds.here({}, url)
                assert here.title == title
                assert here.evidence(FORMATS[title], BINDING).format == FORMATS[title]


@pytest.mark.parametrize("title", FORMATS)
def test_a_service_that_hangs_up_once_is_asked_again(title: str) -> None:
    for path in PATHS[title]:
        with busy(title, path, NoAnswer.CLOSED, 1) as (url, _):
            assert clouds.here({}, url).evidence(FORMATS[title], BINDING).format == FORMATS[title]


@pytest.mark.parametrize("title", FORMATS)
def test_a_service_that_is_slow_once_is_asked_again(title: str) -> None:
    for path in PATHS[title]:
        with busy(title, path, 503, 1, late=READ_SECONDS + 1) as (url, _):
            assert clouds.here({}, url).evidence(FORMATS[title], BINDING).format == FORMATS[title]


@pytest.mark.parametrize("trouble", [429, 503])
@pytest.mark.parametrize("title", FORMATS)
def test_a_service_that_stays_busy_is_named_and_not_asked_for_ever(title: str, trouble: int) -> None:
    with busy(title, PATHS[title][1], trouble, 1000) as (url, front):
        here = clouds.here({}, url)
        began = time.monotonic()
        with pytest.raises(ClientError, match=f"answers with status {trouble}"):
            here.evidence(FORMATS[title], BINDING)
        assert time.monotonic() - began < 300
        assert len(front.asked) < 20


def test_a_token_that_comes_late_once_is_not_the_hop_limit() -> None:
    for trouble, late in ((NoAnswer.CLOSED, 0.0), (200, READ_SECONDS + 0.5)):
        with busy("AWS", "/latest/api/token", trouble, 2, late=late) as (url, _):
            assert clouds.here({}, url).instance() == f"aws:{EC2.instance_id}"


def test_what_is_not_there_is_asked_for_a_few_times_only() -> None:
    with busy("GCP", PATHS["GCP"][1], 404, 1000) as (url, front):
        here = clouds.here({}, url)
        with pytest.raises(ClientError, match="no service account"):
            here.evidence("gcp-identity", BINDING)
        assert sum(path.startswith(PATHS["GCP"][1]) for path in front.asked) == 4


def test_azures_five_requests_a_second_are_kept_in_the_end() -> None:
    moments: list[float] = []

    @dataclass
    class Limited(Busy):
        def answer(self, request: Request) -> Response | NoAnswer:
            with self._lock:
                now = time.monotonic()
                recent = [moment for moment in moments if now - moment < 1]
                moments[:] = [*recent, now]
                if len(recent) >= 5:
                    return Response(HTTPStatus.TOO_MANY_REQUESTS, b'{"error":"Too many requests"}')
            return self.inner.answer(request)

    with listening(Limited(service("Azure"), "", 429, 0)) as running:
        for _ in range(3):
            here = clouds.here({}, running.url)
            assert here.title == "Azure"
            assert here.evidence("azure-attested", BINDING).format == "azure-attested"
