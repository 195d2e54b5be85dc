"""The suite's options, the connection to the server under test, and the record of what it passes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.answers import NotOfferedError, said
from conformance.checks import counted_by, succeeded
from conformance.client import Account, Issued, Resource, Server, Settings, Solver
from conformance.failures import BAD_PROOFS, Failing, begin
from conformance.jose import Binding, Key, unb64
from conformance.key_changes import change
from conformance.report import Result, in_one, markdown
from conformance.solvers import AlwaysValid, Challtestsrv

_NOT_OFFERED = pytest.StashKey[str]()
_RESULTS = pytest.StashKey[list[Result]]()


_OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("directory", "URL", {"help": "the directory of the server under test"}),
    ("root", "PEM", {"help": "the file with the root of its TLS certificate; the system's roots without it"}),
    ("challtestsrv", "URL", {"help": "the management interface of a pebble-challtestsrv that answers for the names"}),
    ("solver", "MODULE:FUNCTION", {"help": "a function that returns a solver (client.Solver) for other challenges"}),
    ("domain", "SUFFIX", {"default": "conformance.test", "help": "the suffix of all names (default: %(default)s)"}),
    ("address", "IP", {"default": "127.0.0.1", "help": "an address for ip identifiers (default: %(default)s)"}),
    ("http-port", "PORT", {"type": int, "default": 80, "help": "where http-01 is fetched from (default: %(default)s)"}),
    ("eab", "KID:KEY", {"help": "a reusable key for external account binding, the key in base64url"}),
    (
        "revokers",
        "WHO",
        {
            "choices": ("names", "account"),
            "default": "names",
            "help": "which accounts revoke a certificate: those that are authorized for all its names (names, as RFC "
            "8555 section 7.6 has it), or the one that got it alone (account) (default: %(default)s)",
        },
    ),
    (
        "patience",
        "SECONDS",
        {
            "type": float,
            "default": 30.0,
            "help": "for a validation; bad proofs have three times as long (default: %(default)s)",
        },
    ),
    ("report", "FILE", {"help": "write what was found: JSON if the name ends in .json, else a Markdown table"}),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("acme", "the ACME server under test")
    for name, metavar, members in _OPTIONS:
        group.addoption(f"--acme-{name}", metavar=metavar, **members)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RESULTS] = []
    if not config.option.collectonly and not config.option.help and config.option.acme_directory is None:
        raise pytest.UsageError("say which server is to be tested: --acme-directory URL")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    when = {"early": 0, "late": 2, "last": 3}
    items.sort(key=lambda item: next((when[mark.name] for mark in item.iter_markers() if mark.name in when), 1))


def _solver(config: pytest.Config) -> Solver:
    if config.option.acme_solver:
        module, _, function = config.option.acme_solver.partition(":")
        made: Solver = getattr(importlib.import_module(module), function)()
        return made
    if config.option.acme_challtestsrv:
        return Challtestsrv(config.option.acme_challtestsrv)
    return AlwaysValid()


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config) -> Settings:
    option = pytestconfig.option
    binding = None
    if option.acme_eab:
        kid, _, secret = option.acme_eab.rpartition(":")
        binding = Binding(kid, unb64(secret))
    return Settings(
        directory=option.acme_directory,
        root=option.acme_root,
        solver=_solver(pytestconfig),
        domain=option.acme_domain,
        address=option.acme_address,
        http_port=option.acme_http_port,
        binding=binding,
        revokers=option.acme_revokers,
        patience=option.acme_patience,
    )


@pytest.fixture(scope="session")
def server(settings: Settings) -> Iterator[Server]:
    """The server under test."""
    connection = Server(settings)
    yield connection
    connection.session.close()


@pytest.fixture(scope="session")
def account(server: Server) -> Account:
    """An account for tests that leave it as it is."""
    return server.account()


@pytest.fixture(scope="session")
def stranger(server: Server) -> Account:
    """Another account, which has nothing."""
    return server.account()


@pytest.fixture(scope="session")
def pending(account: Account) -> Resource:
    """A pending order for tests that leave it as it is."""
    return account.order()


@pytest.fixture(scope="session")
def authorization(account: Account, pending: Resource) -> Resource:
    """The pending order's authorization."""
    return account.authorization(pending)


@pytest.fixture(scope="session")
def issued(account: Account) -> Issued:
    """A certificate for tests that leave it as it is."""
    with counted_by("test_common_keys_get_certificates", "there is no certificate"):
        return account.obtain()


@pytest.fixture(scope="session")
def _key_changes(server: Server) -> None:
    """For rules about key changes: the server has them."""
    with counted_by("test_a_key_change_changes_the_key", "a good key change fails"):
        response = change(server.account(), Key.new())
        assert response.status_code == 200, said(response)


@pytest.fixture(scope="session")
def _deactivations(account: Account) -> None:
    """For rules about deactivated authorizations: a pending one can be deactivated."""
    with counted_by("test_an_authorization_is_deactivated", "a pending authorization cannot be deactivated"):
        succeeded(account.deactivate(account.authorization()))


@pytest.fixture(scope="session")
def _valid_deactivations(account: Account, _deactivations: None) -> None:
    """For rules about deactivated authorizations that were valid: such a one can be deactivated."""
    proven = account.prove(account.authorization())
    with counted_by("test_a_valid_authorization_is_deactivated", "a valid authorization cannot be deactivated"):
        succeeded(account.deactivate(proven))


@pytest.fixture(scope="session")
def failing(server: Server, account: Account, stranger: Account) -> dict[str, Failing | Exception]:
    """Bad proofs by their name, answered with; or what kept them from being."""
    begun: dict[str, Failing | Exception] = {}
    for what in BAD_PROOFS:
        try:
            begun[what] = begin(server, what, account, stranger)
        except (NotOfferedError, AssertionError) as error:
            begun[what] = error
    return begun


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that ends because the server does not have what it checks has passed, and the record says why."""
    try:
        return (yield)
    except NotOfferedError as reason:
        pyfuncitem.stash[_NOT_OFFERED] = str(reason)
        return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "setup" and call.excinfo is not None and isinstance(call.excinfo.value, NotOfferedError):
        item.stash[_NOT_OFFERED] = str(call.excinfo.value)
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, str(call.excinfo.value))
    if report.when == "call" or (report.when == "setup" and not report.passed):
        mark = item.get_closest_marker("rule")
        assert mark is not None, f"{item.nodeid} names no rule"
        why = item.stash.get(_NOT_OFFERED, "")
        if report.failed:
            assert call.excinfo is not None
            why = call.excinfo.exconly().split("\n")[0]
        outcome = "fail" if report.failed else "not offered" if why else "pass"
        item.config.stash[_RESULTS].append(
            Result(
                area=item.module.AREA,  # type: ignore[attr-defined]
                test=item.originalname,  # type: ignore[attr-defined]
                outcome=outcome,
                why=why,
                cases=[item.name],
                **mark.kwargs,
            )
        )
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    results = in_one(session.config.stash[_RESULTS])
    path = session.config.option.acme_report
    if path:
        shown = [result.as_json() for result in results]
        text = json.dumps(shown, indent=1) + "\n" if path.endswith(".json") else markdown({"result": results})
        Path(path).write_text(text, "utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What failed, by rule: the message of a product, not the traceback of a test."""
    results = in_one(config.stash[_RESULTS])
    count = {
        outcome: sum(result.outcome == outcome for result in results) for outcome in ("pass", "fail", "not offered")
    }
    terminalreporter.section("rules")
    for result in results:
        if result.outcome == "fail":
            terminalreporter.write_line(f"{result.section} ({result.level}): {result.text}\n    {result.why[:300]}")
    terminalreporter.write_line(
        f"{len(results)} rules: {count['pass']} hold, {count['fail']} do not, {count['not offered']} concern what the server does not offer"  # noqa: E501
    )
