"""Which cloud this machine is in: asked of simulated services, of other things that answer, and of nobody."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest
from stand_ins import azure_vm, ec2, gce

from acme_iid.simulator import aws, gcp
from acme_iid.simulator.azure import Vm
from acme_iid.simulator.listener import NoAnswer, Request, Response, listening
from acme_iid_client import clouds
from acme_iid_client.clouds import detection
from acme_iid_client.clouds.aws import AWS
from acme_iid_client.clouds.azure import Azure
from acme_iid_client.clouds.gcp import GCP
from acme_iid_client.errors import ClientError

SERVICES = {"AWS": lambda: ec2(aws.Instance()), "GCP": lambda: gce(gcp.Instance()), "Azure": lambda: azure_vm(Vm())}


@dataclass
class Scripted:
    """A service that answers everything alike.

    :ivar after: what it waits for before it answers.
    :ivar then: what it sets when it is asked.
    """

    response: Response | NoAnswer
    after: threading.Event | None = None
    then: threading.Event = field(default_factory=threading.Event)
    banner: str = "a server"
    reads: frozenset[str] = frozenset()

    def answer(self, _request: Request) -> Response | NoAnswer:
        self.then.set()
        assert self.after is None or self.after.wait(10)
        return self.response


@contextmanager
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


def candidates(url: str) -> list[clouds.Cloud]:
    return [AWS({}, url), GCP({}, url), Azure({}, url)]


@pytest.mark.parametrize("title", SERVICES)
def test_each_service_is_known_by_its_answers(title: str) -> None:
    with SERVICES[title]() as service:
        assert clouds.here({}, service.url).title == title


def test_a_service_that_the_environment_names_is_asked_alone() -> None:
    with gce(gcp.Instance(instance_id="4711")) as service:
        host = service.url.removeprefix("http://")
        assert clouds.here({"GCE_METADATA_HOST": host}, None).instance() == "gcp:4711"
    with ec2(aws.Instance(instance_id="i-0123456789abcdef0")) as service:
        env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url}
        assert clouds.here(env, None).instance() == "aws:i-0123456789abcdef0"


def test_if_two_clouds_answer_the_same_one_always_counts_with_a_notice() -> None:
    first_asked = threading.Event()
    token = Response(HTTPStatus.OK, b"token")
    with (
        gce(gcp.Instance()) as google,
        # Google's answer is long there when Amazon's comes.
        listening(Scripted(token, after=first_asked)) as amazon,
    ):
        env = {"GCE_METADATA_HOST": google.url.removeprefix("http://"), "AWS_EC2_METADATA_SERVICE_ENDPOINT": amazon.url}
        notices: list[str] = []

        class Late(GCP):
            def probe(self, seconds: float) -> None:
                super().probe(seconds)
                first_asked.set()

        tried: list[clouds.Cloud] = [AWS(env), Late(env)]
        found = detection.find(tried, detection.NAMED_SECONDS, notices.append)
        assert found.title == "AWS"
        assert len(notices) == 1
        assert (
            f"of AWS ({amazon.url}) and GCP ({google.url}) both answer. This machine is taken for one of AWS's"
            in notices[0]
        )
        assert clouds.here(env, google.url).title == "GCP"


def test_where_nobody_answers_all_that_was_tried_is_named() -> None:
    with nobody() as first, nobody() as second:
        tried: list[clouds.Cloud] = [AWS({}, first), GCP({}, second), Azure({}, second)]
        with pytest.raises(ClientError) as error:
            detection.find(tried, detection.SECONDS, pytest.fail)
    said = str(error.value)
    assert "does not seem to be a cloud instance" in said
    assert f"AWS at {first}: the connection is refused; GCP at {second}: the connection is refused; Azure at" in said


@pytest.mark.parametrize(
    "response",
    [
        Response(HTTPStatus.NOT_FOUND),
        Response(HTTPStatus.METHOD_NOT_ALLOWED, b"hello"),
        Response(HTTPStatus.FORBIDDEN, b"", {"Metadata-Flavor": "Amazon"}),
    ],
)
def test_what_is_no_clouds_service_is_taken_for_none(response: Response) -> None:
    with listening(Scripted(response)) as service, pytest.raises(ClientError) as error:
        clouds.here({}, service.url)
    said = str(error.value)
    for title in SERVICES:
        assert f"{title} at {service.url}: " in said


def test_a_network_that_swallows_everything_costs_a_second() -> None:
    with listening(Scripted(NoAnswer.SILENT)) as service:
        start = time.monotonic()
        with pytest.raises(ClientError, match=r"does not answer|no answer in time"):
            detection.find(candidates(service.url), detection.SECONDS, pytest.fail)
        assert time.monotonic() - start < 30 * detection.SECONDS


def test_a_cloud_that_answers_does_not_wait_for_those_that_never_do() -> None:
    with gce(gcp.Instance()) as google, listening(Scripted(NoAnswer.SILENT)) as silent:
        start = time.monotonic()
        tried: list[clouds.Cloud] = [AWS({}, silent.url), GCP({}, google.url)]
        assert detection.find(tried, detection.NAMED_SECONDS, pytest.fail).title == "GCP"
        assert time.monotonic() - start < 30 * detection.SECONDS


def test_a_recognized_metadata_service_that_cannot_be_used_says_why() -> None:
    with listening(Scripted(Response(HTTPStatus.FORBIDDEN))) as service, pytest.raises(ClientError) as error:
        clouds.here({}, service.url)
    assert "switched off for this instance (403)" in str(error.value)
