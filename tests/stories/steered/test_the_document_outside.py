"""A program that knows the API by its document alone asks a real server, as each role: all answers are as it says.

It is schemathesis, which makes requests of the document's schemas, right ones and wrong ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from operators import OperatorCA, Steered, ask_by_tls, role_table
from running import CA, answer
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from strangers import Ground

from acme_iid.admin.limits import REFUSALS
from acme_iid.admin.roles import Role
from acme_iid.simulator import aws

RIGHT, WRONG = 6, 5
"""How many right and wrong requests of each act are made, for those who have just the role that it takes."""
NEEDED = {"about": "a.local", "after": "0"}
"""What readings take that need more than a path."""
BODIES = {"release": {"to": "n" * 43}, "reopen": {"name": "a.local"}}
"""What changes take that need more than a path."""
ABOUT_NOTHING = {"/eab/{id}/revoke", "/instances/{id}/reopen", "/tasks/{id}", "/tasks/{id}/stop"}
"""The paths of acts on what there is not."""
NAMES = 400
"""How many operators of each role there are: one who is refused often is locked out."""

load_all_checks()
CONFORMING: list[Any] = [
    CHECKS.get_one(name)
    for name in ("not_a_server_error", "status_code_conformance", "content_type_conformance",
                 "response_headers_conformance", "response_schema_conformance", "negative_data_rejection")
]  # fmt: skip


@dataclass
class Operators:
    """Operators of one role, who ask one after another: each leaves before being refused too often.

    :ivar statuses: how often each act was answered with each status.
    """

    role: Role
    steered: Steered
    above: OperatorCA
    folder: Path
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    number: int = 0
    refused: int = 0
    session: requests.Session | None = None

    def ask(self, case: Case[Any]) -> int:
        """Send a request, and hold the answer against the document; returns its status."""
        if self.session is None or self.refused >= REFUSALS - 1:
            self._change()
        assert self.session is not None
        base = f"https://127.0.0.1:{self.steered.port}"
        answered = case.call(base_url=base, session=self.session, verify=str(self.steered.ca.root), timeout=60)
        case.validate_response(answered, checks=CONFORMING)
        status = answered.status_code
        assert status < 500
        assert status != 429, "an operator is locked out"
        self.refused += status in (400, 403, 405, 413, 415)
        self.statuses[case.operation.definition.raw["operationId"], status] += 1
        return status

    def _change(self) -> None:
        self.number += 1
        assert self.number <= NAMES
        if self.session is not None:
            self.session.close()
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.cert = str(self.above.operator(self.folder, f"{self.role.word}-{self.number}"))
        self.refused = 0


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory, open_ground: Ground) -> Iterator[tuple[Steered, OperatorCA]]:
    """A CA that has issued something, with many operators of each role."""
    folder = tmp_path_factory.mktemp("outside")
    ca, above = CA(folder / "ca"), OperatorCA()
    ca.init(in_a_file=True)
    steered = Steered(ca, open_ground.own / "outside.sock")
    steered.configure(
        *(
            role_table(role.word, certificates=[f"{role.word}-{number}" for number in range(NAMES + 1)])
            for role in Role
        ),
        listen=above.write(folder),
    )
    steered.start()
    ca.account().obtain("bob.local", answer=answer(aws.Instance(account="123456789042")))
    yield steered, above
    ca.stop()


@pytest.fixture(scope="module")
def document(steered: tuple[Steered, OperatorCA], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document as the server shows it."""
    served, above = steered
    served.until_answered()
    viewer = above.operator(tmp_path_factory.mktemp("viewer"), "viewer-0")
    content: dict[str, Any] = ask_by_tls(served, viewer, "/openapi.json").json
    return content


@pytest.fixture(scope="module")
def there(steered: tuple[Steered, OperatorCA], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is there, by the folder of its path."""
    served, above = steered
    viewer = above.operator(tmp_path_factory.mktemp("viewer"), "viewer-0")
    first = {path: ask_by_tls(served, viewer, f"/{path}").json["items"][0]
             for path in ("instances", "certificates", "accounts")}  # fmt: skip
    return {"instances": first["instances"]["instance"], "certificates": first["certificates"]["serial"],
            "accounts": first["accounts"]["account"]}  # fmt: skip


@pytest.mark.parametrize("role", Role, ids=lambda role: role.word)
def test_a_program_from_outside_meets_nothing_but_what_is_described(
    role: Role,
    steered: tuple[Steered, OperatorCA],
    document: dict[str, Any],
    there: dict[str, str],
    tmp_path: Path,
) -> None:
    operators = Operators(role, *steered, tmp_path)
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        word = there.get(operation.path.split("/")[1])
        needed = Role[operation.definition.raw["x-role"].upper()]
        is_reading = operation.method == "get"
        if role <= needed or is_reading:
            status = operators.ask(_plain(operation, word))
            assert (status == 403) is (role < needed), operation.path
            assert status < 300 or role < needed or operation.path in ABOUT_NOTHING, (operation.path, status)
        if role is needed and (not is_reading or operation.query or operation.path_parameters):
            _fuzz(operators, operation, GenerationMode.POSITIVE, RIGHT, word)
            _fuzz(operators, operation, GenerationMode.NEGATIVE, WRONG, word)
    roles = {operation["operationId"]: Role[operation["x-role"].upper()]
             for several in document["paths"].values() for operation in several.values()}  # fmt: skip
    # Every other refusal by role is for a parameter that takes more.
    refused = {name for name, status in operators.statuses if status == 403 and role >= roles[name]}
    assert refused <= {"instance.release", "instance.block"}


def _plain(operation: APIOperation[Any, Any, Any, Any], word: str | None) -> Case[Any]:
    """A request for something that is there, with nothing that it does not need."""
    path = {entry.name: word or "unknown" for entry in operation.path_parameters}
    query = {entry.name: NEEDED[entry.name] for entry in operation.query if entry.is_required}
    if operation.method == "get":
        return operation.Case(path_parameters=path, query=query)
    kind, _, verb = operation.path.strip("/").partition("/")
    body: Any = {"dry_run": True, "all": True} if kind == "bulk" else BODIES.get(verb.rpartition("/")[2], {})
    return operation.Case(path_parameters=path, body=body, media_type="application/json")


def _fuzz(
    operators: Operators,
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    number: int,
    word: str | None,
) -> None:
    """Send requests that are made of the document, right ones sometimes about something that is there."""

    @given(case=operation.as_strategy(generation_mode=mode), is_there=st.booleans())
    @settings(max_examples=number, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    def send(case: Case[Any], is_there: bool) -> None:
        if is_there and word is not None and mode is GenerationMode.POSITIVE:
            case.path_parameters = dict.fromkeys(case.path_parameters, word)
        operators.ask(case)

    send()
