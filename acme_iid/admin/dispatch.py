"""From a request to an act and its answer: which act it is, who may ask for it, and what it is asked with."""

from __future__ import annotations

import contextvars
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl

from acme_iid.admin import problems
from acme_iid.admin.acts import JSON, Accepted, Act, Context
from acme_iid.admin.problems import Problem, ProblemError
from acme_iid.admin.roles import Role
from acme_iid.admin.table.configuration import Look
from acme_iid.admin.table.every import ACTS
from acme_iid.admin.tasks import Tasks
from acme_iid.config.settings import Config
from acme_iid.protocol import strict_json
from acme_iid.serving.messages import Answer, Request
from acme_iid.store.actor import Actor, OperatorStore
from acme_iid.store.database import Database
from acme_iid.telemetry import request_ids

MAX_BODY_BYTES = 64 * 1024
MAX_PARAMETERS = 64
_MAX_DEPTH = 4


class Caller(Protocol):
    """Whoever sent a request."""

    @property
    def role(self) -> Role | None:
        """The caller's role; None if they are not listed."""

    def actor(self, reason: str | None) -> Actor:
        """The caller, as events name them.

        :param reason: why they act, in their words.
        """


class Dispatcher:
    """Answers requests with acts.

    :param config: the settings that are in force.
    :param database: the store; whoever opened it closes it.
    :param reload: has the server take ca.toml up again; None where no server can be asked.
    :param look: looks at ca.toml for this process; None where it may open what that names.
    :param clock: the time in seconds.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        reload: Callable[[], None] | None = None,
        look: Callable[[], Look] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._database = database
        self._reload = reload
        self._look = look
        self._clock = clock
        self._tasks = Tasks()

    def close(self) -> None:
        """Stop the acts on many that go on, each after the transaction that it is in; waits for that."""
        self._tasks.close()

    def respond(self, request: Request, caller: Caller) -> Answer:
        """Answer a request. It takes as long as its act does, and any number of threads may call it."""
        # The request's id is of this context; a thread of a pool keeps none.
        return contextvars.copy_context().run(self._respond, request, caller)

    def _respond(self, request: Request, caller: Caller) -> Answer:
        reference = request_ids.current() or request_ids.begin()
        try:
            answer = self._done(request, caller)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told as a problem
            answer = problems.answer_of(error)
        answer.add(request_ids.HEADER, reference)
        answer.add("Cache-Control", "no-store")
        return answer

    def _done(self, request: Request, caller: Caller) -> Answer:
        act, in_path = find(ACTS, request.method, request.path)
        act.require(caller.role, act.role)
        values = _parameters(act, request, in_path)
        act.require(caller.role, act.role_for(values))
        now = int(self._clock())
        parameters, reason = act.read(values, now), act.reason(values, now)
        actor = caller.actor(reason)
        database = OperatorStore(self._database, actor) if act.is_change else self._database
        context = Context(database, self._config, now, self._tasks, actor, reason, self._reload, self._look)
        return _answer(act, act.run(context, parameters))


def find(acts: Sequence[Act[Any]], method: str, path: str) -> tuple[Act[Any], dict[str, str]]:
    """The act that a request asks for, and the parameters that its path has.

    :raises ProblemError: if there is no such path, or it takes another method.
    """
    segments = tuple(path.split("/")[1:]) if path.startswith("/") else ()
    fitting = [act for act in acts if _fits(act, segments)]
    if not fitting:
        raise ProblemError(Problem.NO_ACT, "there is nothing at this path; /openapi.json lists what there is")
    # A word of a path comes before a parameter: /certificates/renew-now is no serial number.
    best = min(len(act.in_path) for act in fitting)
    fitting = [act for act in fitting if len(act.in_path) == best]
    for act in fitting:
        if act.method == method:
            pairs = zip(act.segments, segments, strict=True)
            return act, {name[1:-1]: value for name, value in pairs if name.startswith("{")}
    allowed = ", ".join(sorted(act.method for act in fitting))
    raise ProblemError(Problem.WRONG_METHOD, f"this path takes {allowed} only", headers={"Allow": allowed})


def _fits(act: Act[Any], segments: Sequence[str]) -> bool:
    if len(act.segments) != len(segments):
        return False
    pairs = zip(act.segments, segments, strict=True)
    return all(part == segment or (part.startswith("{") and segment) for part, segment in pairs)


def _parameters(act: Act[Any], request: Request, in_path: Mapping[str, str]) -> dict[str, object]:
    """The parameters of a request, as JSON values.

    :raises ProblemError: if it is not readable, or gives one twice, or where it does not belong.
    """
    queried = _queried(request.query)
    spelled = {entry.name: entry.kind.spelled for entry in act.every_parameter()}
    values: dict[str, object] = {}
    if act.is_change:
        for name in queried:
            raise problems.of_parameter(name[:64], f"{name[:64]!a} is in the query", "in the body")
        values = _body(request)
    else:
        if request.body:
            raise ProblemError(Problem.BAD_REQUEST, "this act takes no body; its parameters are in the query")
        values = {name: spelled[name](text) if name in spelled else text for name, text in queried.items()}
    for name in in_path:
        if name in values:
            raise problems.of_parameter(name, f"{name!a} is given twice", "in the path only")
    return values | {name: spelled[name](text) for name, text in in_path.items()}


def _queried(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        raise ProblemError(Problem.BAD_REQUEST, "the query is not readable: write name=value, joined by &") from error
    found: dict[str, str] = {}
    for name, text in pairs:
        if name in found:
            raise problems.of_parameter(name[:64], f"{name[:64]!a} is given twice", "given once")
        found[name] = text
    return found


def _body(request: Request) -> dict[str, object]:
    if len(request.body) > MAX_BODY_BYTES:
        raise ProblemError(Problem.TOO_LARGE, f"the body has {MAX_BODY_BYTES} octets at most")
    media, _, _ = (request.content_type or "").partition(";")
    if media.strip().lower() != JSON:
        raise ProblemError(Problem.NOT_JSON, f"the body has to be JSON, and said to be so: Content-Type: {JSON}")
    try:
        content = strict_json.loads(request.body, max_depth=_MAX_DEPTH, max_bytes=MAX_BODY_BYTES)
    except ValueError as error:
        raise ProblemError(Problem.BAD_REQUEST, f"the body: {error}") from error
    if not isinstance(content, dict):
        raise ProblemError(Problem.BAD_REQUEST, "the body has to be a JSON object; without parameters it is {}")
    return content


def _answer(act: Act[Any], content: object) -> Answer:
    if isinstance(content, Accepted):
        return Answer(json.dumps(content.content), 202, JSON)
    if act.media != JSON:
        return Answer(str(content), 200, act.media)
    return Answer(json.dumps(content), 200, JSON)
