"""The alert rules and the board: what they name exists, and alerts fire from faults that are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import postgresql
import prometheus
import pytest
import scraping
from pages import REPOSITORY, page
from prometheus import Prometheus
from running import ACCOUNT, CA, answer
from wire import Account

from acme_iid.simulator import aws

ALERTS = re.findall(r"- alert: (\w+)", prometheus.alerts())
SELECTED = re.compile(r"\b((?:acme_iid_\w+)|up)\b(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[CA], Prometheus]]:
    """Two servers of one store, and Prometheus, which has seen orders, refusals and attempts of all kinds."""
    folder = tmp_path_factory.mktemp("pair")
    first = CA(folder / "first")
    first.init(in_postgresql=True)
    hosts = ("provisioner", "add", "hosts", "--type", "ACME", "--challenge", "http-01", "--allow", "*.host.local")
    first.cli(*hosts)
    # Nobody takes what it is sent.
    settings = first.home / "ca.toml"
    settings.write_text(f'{settings.read_text()}\n[[sink]]\nname = "siem"\nurl = "syslog+tls://127.0.0.1:1"\n')
    second = CA(folder / "second")
    shutil.copytree(first.home, second.home)
    file = second.home / "ca.toml"
    file.write_text(file.read_text().replace(f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"))
    with ExitStack() as stack:
        bases = []
        for ca in (first, second):
            bases.append(scraping.turn_on(ca))
            ca.start()
            stack.callback(_end, ca)
        for ca in (first, second):
            account = ca.account()
            account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
            refuse(account)
        yield [first, second], stack.enter_context(Prometheus.scraping(folder / "prometheus", bases))


def _end(ca: CA) -> None:
    if ca.process is not None:
        ca.kill()


def refuse(account: Account) -> None:
    """Have evidence refused that is another account's."""
    account.prove("bar.local", answer=answer(aws.Instance(account="999999999999")))


def test_promtool_accepts_the_rules_and_their_tests() -> None:
    for command in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        done = subprocess.run(
            ["/usr/bin/promtool", *command], cwd=prometheus.MONITORING, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_and_has_a_runbook() -> None:
    tested = (prometheus.MONITORING / "alerts_test.yml").read_text()
    headings = re.findall(r"^### (\w+)$", page("docs/how-to/monitoring.md"), re.MULTILINE)
    assert len(ALERTS) >= 10
    assert headings == ALERTS
    assert [alert for alert in ALERTS if alert not in tested] == []
    runbooks = re.findall(r"runbook: (\S+)#(\S+)$", prometheus.alerts(), re.MULTILINE)
    assert [anchor for _, anchor in runbooks] == [alert.lower() for alert in ALERTS]
    assert all((REPOSITORY / path).exists() for path, _ in runbooks)


def test_names_and_labels_of_rules_and_board_are_in_a_live_scrape(pair: tuple[list[CA], Prometheus]) -> None:
    _, running = pair
    wrong: list[str] = []
    for what, expression in prometheus.expressions():
        running.ask("query", query=expression)
        names = SELECTED.findall(expression)
        assert names, what
        grouped = {label for found in re.findall(r"by \(([^)]*)\)", expression) for label in found.split(", ")}
        known: set[str] = set()
        for name, matchers in names:
            series = running.series(name)
            labels = {label for one in series for label in one}
            used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))
            known |= labels
            wrong += [f"{what}: {name} does not exist"] * (not series)
            wrong += [f"{what}: {name} has no label {label}" for label in used - labels]
        wrong += [f"{what}: nothing has the label {label}" for label in grouped - known]
    assert wrong == []


def test_alerts_fire_from_faults(pair: tuple[list[CA], Prometheus]) -> None:
    (first, second), running = pair
    running.until(lambda: not running.firing() & {"AcmeIidServersDown", "AcmeIidStoreAway"}, "quiet")
    account = first.account()

    def refused() -> bool:
        refuse(account)
        return "AcmeIidRefusals" in running.firing()

    running.until(refused, "refusals")
    # One server has taken up another configuration, the other has not.
    file = second.home / "ca.toml"
    file.write_text(file.read_text().replace("[server]", '[server]\nkeep_alive = "60s"', 1))
    second.stop()
    second.start()
    running.until(lambda: "AcmeIidConfigurationsDiffer" in running.firing(), "different configurations")
    cluster = postgresql.cluster()
    cluster.stop()
    try:
        running.until(lambda: {"AcmeIidStoreAway", "AcmeIidUnready"} <= running.firing(), "the store to be away")
        # It lives, and says what is wrong; and what was counted is there.
        base = re.search(r"http://\S+", next(line for line in first.log if "Metrics are at" in line))
        assert base is not None
        assert scraping.get(f"{base[0]}/livez") == (200, "ok\n")
        assert scraping.get(f"{base[0]}/readyz") == (503, "store\n")
        assert scraping.read(base[0]).of("acme_iid_orders_total") > 0
    finally:
        cluster.start()
    running.until(lambda: "AcmeIidStoreAway" not in running.firing(), "the store to be back")
    second.kill()
    running.until(lambda: "AcmeIidServersDown" in running.firing(), "a server that is down")
    running.until(lambda: "AcmeIidBackupOld" in running.firing(), "a backup that nobody made")
    first.cli("backup", first.home.parent / "backup.tar")
    running.until(lambda: "AcmeIidBackupOld" not in running.firing(), "the backup to be seen")
