"""Which cloud this machine runs in, found out by asking.

A service that is busy answers like none of them. So where nobody is known by what it answers, but somebody answers, all
are asked again for a while.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from acme_iid_client.clouds.metadata import PAUSES, BusyError, NoAnswerError, NobodyThereError, NotThisCloudError
from acme_iid_client.errors import ClientError

SECONDS = 1.0
"""The longest wait for clouds if the cloud is not named."""
NAMED_SECONDS = 5.0
"""The longest wait for a service with a given address, or for one that answers and is not recognized yet."""


class NoCloudError(ClientError):
    """No cloud's metadata service was found."""


class Candidate(Protocol):
    """A cloud's metadata service, as far as it takes part here."""

    @property
    def title(self) -> str:
        """The cloud's name."""

    @property
    def base(self) -> str:
        """The service's address."""

    def probe(self, seconds: float) -> None:
        """Ask for what only this cloud answers.

        :param seconds: the seconds that it may take.
        :raises NotThisCloudError: if it is not this cloud, or so busy that it cannot be known.
        :raises BusyError, NoAnswerError: likewise.
        :raises ClientError: if it is, and its service cannot be used.
        """


C = TypeVar("C", bound=Candidate)


def find(candidates: Sequence[C], seconds: float, notice: Callable[[str], None]) -> C:
    """The cloud that answers as only its metadata service does. All clouds are asked at the same time.

    Of several that answer within :data:`SECONDS` the first of ``candidates`` is taken, not the fastest, so that
    the machine is the same instance the next time.

    :param seconds: the seconds to wait for the first answer.
    :param notice: called with a sentence if several clouds answer.
    :raises NoCloudError: if no cloud answers; it names what was tried.
    :raises ClientError: if there is one that cannot be used.
    """
    start = time.monotonic()
    outcomes: dict[int, ClientError | None] = {}
    unfinished = set(range(len(candidates)))
    answers: queue.SimpleQueue[tuple[int, ClientError | None, bool]] = queue.SimpleQueue()
    ended = threading.Event()
    for index, candidate in enumerate(candidates):
        # Daemons: a resolver or a firewall that keeps one of them waiting must not keep the program.
        asking = (index, candidate, seconds, answers, ended)
        threading.Thread(target=_probe, args=asking, daemon=True).start()
    while unfinished and not (any(map(_decides, outcomes.values())) and len(outcomes) == len(candidates)):
        limit = min(seconds, SECONDS) if None in outcomes.values() else seconds
        if any(map(_is_answer, outcomes.values())):
            limit = max(limit, NAMED_SECONDS)
        try:
            index, outcome, final = answers.get(timeout=max(0.0, start + limit - time.monotonic()))
        except queue.Empty:
            break
        outcomes[index] = outcome
        unfinished -= {index} if final else set()
    ended.set()
    answering = [candidate for index, candidate in enumerate(candidates) if outcomes.get(index, candidate) is None]
    if not answering:
        raise _no_cloud_error(candidates, outcomes)
    if len({candidate.title for candidate in answering}) > 1:
        named = " and ".join(f"{candidate.title} ({candidate.base})" for candidate in answering)
        notice(
            f"The metadata services of {named} both answer. This machine is taken for one of {answering[0].title}'s; "
            "--metadata-url names another."
        )
    return answering[0]


def _probe(
    index: int,
    candidate: Candidate,
    seconds: float,
    answers: queue.SimpleQueue[tuple[int, ClientError | None, bool]],
    ended: threading.Event,
) -> None:
    """Ask one candidate, and again while it answers what a busy service might; each outcome says if it is the last."""
    for pause in (*PAUSES, None):
        outcome: ClientError | None = None
        try:
            candidate.probe(seconds)
        except ClientError as error:
            outcome = error
        final = pause is None or not (_is_answer(outcome) or isinstance(outcome, NoAnswerError))
        answers.put((index, outcome, final))
        if final or ended.wait(pause):
            return


def _decides(outcome: ClientError | None) -> bool:
    """Whether this is the cloud, be it that its service cannot be used."""
    return not isinstance(outcome, NotThisCloudError | BusyError | NoAnswerError)


def _is_answer(outcome: ClientError | None) -> bool:
    """Whether somebody answers there, if not as this cloud does."""
    return isinstance(outcome, NotThisCloudError | BusyError) and not isinstance(outcome, NobodyThereError)


def _no_cloud_error(candidates: Sequence[Candidate], outcomes: dict[int, ClientError | None]) -> ClientError:
    errors = [outcomes.get(index) for index in range(len(candidates))]
    for error in errors:
        # Its own service, with a reason why it cannot be used: no other cloud matters then.
        if error is not None and not isinstance(error, NotThisCloudError):
            return error
    one_address = len({candidate.base for candidate in candidates}) == 1
    if one_address and isinstance(errors[0], NobodyThereError):
        return NoCloudError(str(errors[0]))
    tried = "; ".join(
        f"{candidate.title} at {candidate.base}: "
        + (error.cause if isinstance(error, NotThisCloudError) else "no answer in time")
        for candidate, error in zip(candidates, errors, strict=True)
    )
    return NoCloudError(
        f"This machine does not seem to be a cloud instance, or a firewall on it keeps this user from the metadata "
        f"service. Tried {tried}. --metadata-url names another address."
    )
