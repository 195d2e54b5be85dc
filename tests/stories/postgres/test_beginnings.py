"""A fresh CA begins on PostgreSQL: ``init --store``, or ``store migrate`` before there is a store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import postgresql
import psycopg
import pytest
from pages import commands
from psycopg.conninfo import conninfo_to_dict
from running import ACCOUNT, CA, PROGRAM, answer, run_module

from acme_iid.simulator import aws
from acme_iid.store.database import open_store


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    """Where a CA is to be."""
    made = CA(tmp_path / "ca")
    yield made
    if made.process is not None:
        made.kill()


def kinds(url: str) -> list[str]:
    """The kinds of a store's events, in order."""
    with closing(open_store(url)) as store:
        store.seal()
        return [row["kind"] for row in store.rows("SELECT kind FROM events ORDER BY seq")]


def orders(ca: CA) -> None:
    """Have the CA issue a certificate."""
    ca.start()
    ca.account().obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
    assert ca.stop() == 0


def test_a_fresh_ca_begins_in_postgresql(ca: CA, url: str) -> None:
    ca.init(in_a_file=True, made_with=("--store", url))
    assert kinds(url)[0] == "ca.made"
    orders(ca)
    assert not list(ca.home.glob("ca.db*"))
    assert not list((ca.home / "acts").iterdir())
    assert kinds(url).count("ca.made") == 1


def test_a_password_in_the_url_is_in_a_file_of_its_owners(ca: CA, url: str) -> None:
    ca.init(in_a_file=True, made_with=("--store", url))
    assert postgresql.PASSWORD not in (ca.home / "ca.toml").read_text()
    file = ca.home / "secrets" / "store-url"
    assert (file.read_text(), file.stat().st_mode & 0o777) == (f"{url}\n", 0o600)
    assert ca.store_url == url
    assert "inline-secret" not in ca.try_cli("check").stdout


def test_a_url_without_a_password_is_in_the_configuration(ca: CA, url: str) -> None:
    where = conninfo_to_dict(url)
    plain = f"postgresql://{where['user']}@127.0.0.1:{where['port']}/{where['dbname']}"
    password = {"PGPASSWORD": postgresql.PASSWORD}
    made = run_module(PROGRAM, "--home", ca.home, "init", "--store", plain, env=password)
    assert (made.code, "Its store is in the database." in made.stdout) == (0, True), made.stderr
    assert f'url = "{plain}"\n' in (ca.home / "ca.toml").read_text()
    assert kinds(url) == ["ca.made"]


def test_a_database_of_another_ca_is_refused(ca: CA, url: str, tmp_path: Path) -> None:
    ca.init(in_a_file=True, made_with=("--store", url))
    other = CA(tmp_path / "other")
    refused = other.try_cli("init", "--store", url)
    assert (refused.code, "the store of a CA already" in refused.stderr) == (1, True), refused.stderr
    assert not other.home.exists()


def test_of_two_cas_made_at_once_one_gets_the_database(url: str, tmp_path: Path) -> None:
    cas = [CA(tmp_path / name) for name in ("one", "other")]
    passwords = [tmp_path / f"password-{ca.home.name}" for ca in cas]
    for file in passwords:
        os.mkfifo(file, 0o600)
    with ThreadPoolExecutor() as pool:
        running = [
            pool.submit(ca.try_cli, "init", "--store", url, "--password-file", file)
            for ca, file in zip(cas, passwords, strict=True)
        ]
        # Both have found the database empty when they ask for their passwords.
        with ExitStack() as asked:
            for stream in [asked.enter_context(file.open("w")) for file in passwords]:
                stream.write(f"{postgresql.PASSWORD}\n")
        outcomes = [made.result() for made in running]
    assert sorted(outcome.code for outcome in outcomes) == [0, 1], outcomes
    (winner,) = (ca for ca, outcome in zip(cas, outcomes, strict=True) if outcome.code == 0)
    ((loser, refused),) = (pair for pair in zip(cas, outcomes, strict=True) if pair[1].code == 1)
    assert "the store of a CA already" in refused.stderr
    assert list(loser.home.iterdir()) == []
    assert kinds(url) == ["ca.made"]
    assert not list((winner.home / "acts").iterdir())


@pytest.mark.parametrize("block", ["init-store", "store-migrate"])
def test_the_pages_commands_have_a_ca_in_postgresql(ca: CA, block: str) -> None:
    cluster = postgresql.cluster()
    with closing(psycopg.connect(cluster.url("postgres"), autocommit=True)) as there:
        there.execute("CREATE DATABASE acme_iid TEMPLATE template0")
    try:
        if block == "store-migrate":
            ca.init(in_a_file=True)
        # The host of the page is this one, as libpq finds it; the password is where the page has it.
        where = {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(cluster.port), "PGPASSWORD": postgresql.PASSWORD}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", commands(block)],
            env=os.environ | where | {"ACME_IID_CA_HOME": str(ca.home), "PATH": path},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert kinds(cluster.url("acme_iid"))[0] == "ca.made"
    finally:
        cluster.drop("acme_iid")


@pytest.mark.parametrize(
    ("store", "code", "message"),
    [
        ("sqlite:ca.db", 2, "begins with postgresql://"),
        ("postgresql://acme_iid:hidden@127.0.0.1:1/acme_iid", 1, "Connection refused"),
    ],
)
def test_without_its_database_no_home_is_made(ca: CA, store: str, code: int, message: str) -> None:
    refused = ca.try_cli("init", "--store", store)
    assert (refused.code, message in refused.stderr) == (code, True), refused.stderr
    assert "hidden" not in refused.stderr
    assert not ca.home.exists()


def test_a_ca_that_has_used_no_store_moves_an_empty_one(ca: CA, url: str) -> None:
    ca.init(in_a_file=True)
    done = ca.cli("store", "migrate", "--to", url)
    assert done.stdout.startswith("Copied and compared "), done.stdout
    assert not list(ca.home.glob("ca.db*"))
    began = kinds(url)
    assert (began[0], began[-1]) == ("ca.made", "store.moved")
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace('"sqlite:ca.db"', f'"{url}"'))
    orders(ca)
    assert kinds(url).count("ca.made") == 1
    assert not list((ca.home / "acts").iterdir())


def test_a_store_whose_file_has_gone_is_not_taken_for_an_empty_one(ca: CA, url: str) -> None:
    ca.init(in_a_file=True)
    ca.start()
    assert ca.stop() == 0
    for file in ca.home.glob("ca.db*"):
        file.unlink()
    refused = ca.try_cli("store", "migrate", "--to", url)
    assert (refused.code, "this CA has had a store" in refused.stderr) == (1, True), refused.stderr
