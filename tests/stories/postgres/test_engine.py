"""PostgreSQL as the engine: statements as written, writes that happen or do not, and errors that say what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import postgresql
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgresql import as_somebody
from writing import happens, put

from acme_iid.errors import (
    FencedError,
    OutcomeUnknownError,
    StoreBusyError,
    StoreConflictError,
    StoreUnavailableError,
    UnstorableTextError,
)
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Enrolment, Proof
from acme_iid.store import accounts, enrolments, fence
from acme_iid.store.chain import Event
from acme_iid.store.database import Transaction, open_store
from acme_iid.store.nonce_table import NonceTable
from acme_iid.store.postgresql import PostgreSQL
from acme_iid.store.statements import translate
from acme_iid.store.writes import Statement, again

NOW = 1_800_000_000


def account(name: str, thumbprint: str | None = None) -> Account:
    return Account(name, "{}", thumbprint or name, (), NOW, key_since=NOW)


def run(transaction: Transaction, statement: Statement) -> int:
    return transaction.run(statement.text, **statement.values)


def test_a_write_does_not_wait_for_long_while_the_schema_is_changed(database: PostgreSQL, url: str) -> None:
    with as_somebody(url) as migrating:
        migrating.execute("BEGIN")
        migrating.execute("LOCK TABLE fence IN ACCESS EXCLUSIVE MODE")
        for write in (lambda: put(database, accounts.add(account("a"))), lambda: add_in_a_transaction(database)):
            began = time.monotonic()
            # Its outcome is known: nothing of it waits on in the server.
            with pytest.raises(StoreBusyError, match="others have been writing"):
                write()
            assert time.monotonic() - began < 10
        migrating.execute("ROLLBACK")
    assert not database.rows("SELECT id FROM accounts")


def test_a_server_writes_nothing_once_the_fence_is_raised(database: PostgreSQL, url: str) -> None:
    put(database, events=[Event("test", NOW)])
    with as_somebody(url) as newer:
        newer.execute("UPDATE fence SET min_writer = %s", [fence.WRITER + 1])
    for write in (lambda: put(database, accounts.add(account("a"))), lambda: add_in_a_transaction(database)):
        with pytest.raises(FencedError, match="Install that version here"):
            write()
    with pytest.raises(FencedError):
        database.seal()
    assert not database.rows("SELECT id FROM accounts")
    assert not database.rows("SELECT seq FROM events")


def add_in_a_transaction(database: PostgreSQL) -> None:
    with database.transaction() as transaction:
        run(transaction, accounts.add(account("a")))


def backend(database: PostgreSQL, words: str) -> int:
    """The process of ours in the server whose latest statement begins with ``words``."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = database.rows(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE :words AND datname = current_database() "
            "AND pid <> pg_backend_pid()",
            words=f"{words}%",
        )
        if found:
            pid: int = found[0]["pid"]
            return pid
    raise AssertionError(f"no process began with {words}")


def test_what_stands_in_quotes_comments_and_casts_has_no_parameters() -> None:
    statement = "SELECT ':a%', \":b\", c::text, 5 % :d -- :e\n, ':' || :word, :d"
    assert translate(statement) == (b"SELECT ':a%%', \":b\", c::text, 5 %% %(d)s -- :e\n, ':' || %(word)s, %(d)s")


def test_a_statement_means_what_it_says(database: PostgreSQL) -> None:
    rows = database.rows("SELECT 'it''s :x 100%' AS a, CAST(:x AS TEXT) AS b, 7 % 4 AS c, '5'::bigint AS d", x="%s :y")
    assert rows == [{"a": "it's :x 100%", "b": "%s :y", "c": 3, "d": 5}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_every_text_comes_back_as_it_was(database: PostgreSQL, text: str) -> None:
    assert database.rows("SELECT CAST(:text AS TEXT) AS text", text=text) == [{"text": text}]


def test_a_text_with_a_nul_names_nothing_and_is_not_stored(database: PostgreSQL) -> None:
    with pytest.raises(UnstorableTextError, match="NUL"):
        accounts.get(database, "a\0b")
    with pytest.raises(UnstorableTextError):
        put(database, accounts.add(account("a", "t\0")))
    assert accounts.get(database, "a") is None


def test_a_write_waits_for_another_of_the_same_rows_and_then_decides(database: PostgreSQL, url: str) -> None:
    put(database, accounts.add(account("a")), accounts.add(account("b")))
    with as_somebody(url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN; UPDATE accounts SET deactivated_at = 1 WHERE id = 'a'")
        waiting = pool.submit(happens, database, accounts.set_contact(account("a"), ("mailto:a@example.com",)))
        backend(database, "WITH guard AS (UPDATE accounts SET contact")
        # Writers of other rows, and readers, wait for nobody.
        assert happens(database, accounts.set_contact(account("b"), ("mailto:b@example.com",)))
        assert accounts.get(database, "a") == account("a")
        assert not waiting.done()
        other.execute("COMMIT")
        assert not waiting.result(10)


def test_a_writer_that_another_keeps_waiting_too_long_is_told_so(database: PostgreSQL, url: str) -> None:
    put(database, accounts.add(account("a")))
    with as_somebody(url) as other:
        other.execute("BEGIN; SELECT 1 FROM accounts FOR UPDATE")
        began = time.monotonic()
        with pytest.raises(StoreBusyError, match="lock timeout"):
            put(database, accounts.set_contact(account("a"), ()))
        assert time.monotonic() - began < 60
    assert happens(database, accounts.set_contact(account("a"), ("mailto:a@example.com",)))


def test_of_a_write_whose_guard_fails_nothing_happens(database: PostgreSQL) -> None:
    statements = [accounts.add(account("a")), accounts.set_contact(account("nobody"), ())]
    assert not happens(database, *statements, events=[Event("test", NOW)])
    assert accounts.get(database, "a") is None
    assert database.unsealed().number == 0


def test_what_two_writers_add_under_one_name_is_one_of_them(database: PostgreSQL) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda n: happens(database, accounts.add(account(f"a{n}", "t"))), range(40)))
    assert sum(added) == 1


def test_a_process_stopped_in_a_transaction_keeps_nobody_waiting_for_ever(database: PostgreSQL, url: str) -> None:
    note = "INSERT INTO limits (key, until) VALUES ('wanted', 1)"
    script = (
        "import sys, time\nfrom acme_iid.store.database import open_store\n"
        "database = open_store(sys.argv[1])\nwith database.transaction() as transaction:\n"
        "    transaction.run(sys.argv[2])\n    print(flush=True)\n    time.sleep(120)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, url, note], stdout=subprocess.PIPE) as stopped:
        assert stopped.stdout is not None
        stopped.stdout.readline()
        deadline = time.monotonic() + 60
        tries = 0
        done = False
        while not done and time.monotonic() < deadline:
            tries += 1
            with suppress(StoreUnavailableError), database.transaction() as transaction:
                transaction.run(note)
                done = True
        assert done
        assert tries > 1
        stopped.kill()


def test_a_transaction_with_a_failed_statement_never_commits(database: PostgreSQL) -> None:
    def pass_over() -> None:
        with database.transaction() as transaction:
            run(transaction, accounts.add(account("a")))
            with suppress(psycopg.Error):
                transaction.run("INSERT INTO sealing (id) VALUES (1)")

    with pytest.raises(StoreUnavailableError, match="did not commit"):
        pass_over()
    assert accounts.get(database, "a") is None


def test_a_connection_cut_in_a_transaction_leaves_nothing_to_the_next(database: PostgreSQL, url: str) -> None:
    def cut() -> None:
        with database.transaction() as transaction, as_somebody(url) as other:
            run(transaction, accounts.add(account("a")))
            pid = transaction.rows("SELECT pg_backend_pid() AS pid")[0]["pid"]
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            run(transaction, accounts.add(account("b")))

    with pytest.raises(StoreUnavailableError) as caught:
        cut()
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert accounts.get(database, "a") is None
    assert happens(database, accounts.add(account("b")))


def test_a_connection_cut_before_the_commits_answer_hides_the_outcome(database: PostgreSQL, url: str) -> None:
    def cut() -> None:
        with database.transaction() as transaction, as_somebody(url) as other:
            pid = transaction.rows("SELECT pg_backend_pid() AS pid")[0]["pid"]
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    with pytest.raises(OutcomeUnknownError):
        cut()
    assert database.rows("SELECT 1 AS one") == [{"one": 1}]


def test_an_unanswered_commit_ends_after_a_time_with_an_unknown_outcome(database: PostgreSQL) -> None:
    stopped = 0

    def stop() -> None:
        nonlocal stopped
        with database.transaction() as transaction:
            run(transaction, accounts.add(account("a")))
            stopped = transaction.rows("SELECT pg_backend_pid() AS pid")[0]["pid"]
            os.kill(stopped, signal.SIGSTOP)

    began = time.monotonic()
    try:
        with pytest.raises(OutcomeUnknownError, match="has not answered"):
            stop()
        assert 10 < time.monotonic() - began < 60
        # It alone was stopped: others read.
        assert accounts.get(database, "a") is None
    finally:
        os.kill(stopped, signal.SIGCONT)
    # The server takes the COMMIT, or finds that the time for it is over; in either case others write.
    deadline = time.monotonic() + 10
    written = False
    while not written:
        assert time.monotonic() < deadline
        with suppress(StoreUnavailableError):
            written = happens(database, accounts.add(account("b")))


def test_connections_lost_in_a_restart_are_replaced_unnoticed(database: PostgreSQL, url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: database.rows("SELECT pg_sleep(0.1)"), range(16)))
        with as_somebody(url) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert list(pool.map(lambda _: database.rows("SELECT 1 AS one"), range(16))) == [[{"one": 1}]] * 16
        for number in range(3):
            put(database, events=[Event("after", NOW + number)])


def test_a_write_that_a_deadlock_ended_is_tried_again(database: PostgreSQL, url: str) -> None:
    put(database, accounts.add(account("a")), accounts.add(account("b")))
    with as_somebody(url) as other, ThreadPoolExecutor(2) as pool:
        # The one that has waited for less time finds out: it is to be us.
        other.execute("SET deadlock_timeout = '30s'")
        other.execute("BEGIN; UPDATE accounts SET contact = '[]' WHERE id = 'b'")
        both = [accounts.set_contact(account(name), (f"mailto:{name}@example.com",)) for name in ("a", "b")]
        ours = pool.submit(happens, database, *both)
        backend(database, "WITH guard AS (UPDATE accounts SET contact")
        theirs = pool.submit(other.execute, "UPDATE accounts SET contact = '[]' WHERE id = 'a'")
        theirs.result(20)
        other.execute("COMMIT")
        assert ours.result(20)
    assert database.rows("SELECT contact FROM accounts ORDER BY id") == [
        {"contact": f'["mailto:{name}@example.com"]'} for name in ("a", "b")
    ]


def test_what_a_relative_refuses_each_time_is_a_conflict(database: PostgreSQL, url: str) -> None:
    with as_somebody(url) as other:
        other.execute("CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS "
                      "$$ BEGIN RAISE EXCEPTION 'restart transaction' USING ERRCODE = '40001'; END $$")  # fmt: skip
        other.execute("CREATE TRIGGER late BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION late()")
    with pytest.raises(StoreConflictError):
        put(database, accounts.add(account("a")))


def test_a_database_that_takes_no_writes_is_unavailable_and_then_not(database: PostgreSQL, url: str) -> None:
    name = url.rpartition("/")[2]
    with as_somebody(url) as other:
        other.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        other.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                      "WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
        with pytest.raises(StoreUnavailableError, match="read-only") as caught:
            put(database, accounts.add(account("a")))
        assert not isinstance(caught.value, OutcomeUnknownError)
        other.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    # Connections that were made meanwhile take none either.
    deadline = time.monotonic() + 60
    written = False
    while not written:
        assert time.monotonic() < deadline
        with suppress(StoreUnavailableError):
            written = happens(database, accounts.add(account("a")))


def test_an_enrolment_may_have_more_names_than_an_index_takes(database: PostgreSQL) -> None:
    names = tuple(Identifier("dns", f"{number:063x}.{number * 7:063x}.local") for number in range(100))
    proof = Proof("aws:aws:1:r:i", "aws", "AWS", "")
    wanted = Enrolment("e", "a", "aws:aws:1:r:i", 0, names, proof, "{}", NOW, NOW, NOW + 60)
    put(database, accounts.add(account("a")), enrolments.prove(wanted, again))
    assert enrolments.get(database, "e") == wanted


def spend(nonces: NonceTable, identifier: bytes) -> bool:
    now = int(time.time())
    return nonces.spend(identifier, now, now + 60, now)


def test_a_nonce_is_spent_once_by_all_replicas(database: PostgreSQL, url: str) -> None:
    with closing(open_store(url)) as other:
        assert isinstance(other, PostgreSQL)
        replicas = [NonceTable(database), NonceTable(other)]
        identifiers = [replicas[0].fresh() for _ in range(60)]
        with ThreadPoolExecutor(8) as pool:
            spent = list(pool.map(lambda n: spend(replicas[n % 2], identifiers[n // 8]), range(8 * len(identifiers))))
    assert [sum(spent[n : n + 8]) for n in range(0, len(spent), 8)] == [1] * len(identifiers)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_nonce_is_spent_once_whatever_a_crash_has_forgotten(database: PostgreSQL, how: signal.Signals) -> None:
    here, there = NonceTable(database), NonceTable(database)
    spent, unspent = here.fresh(), here.fresh()
    assert spend(here, spent)
    postgresql.cluster().stop(how)
    postgresql.cluster().start()
    assert not spend(here, spent)
    # After a crash nobody knows which were spent; in good order nothing is forgotten.
    assert spend(here, unspent) is (how is signal.SIGINT)
    # Each replica goes on by itself, with what it gives out once it has refused something.
    assert spend(here, here.fresh())
    for replica in (there, here):
        spend(replica, spent)
        assert spend(here, replica.fresh())
        assert spend(there, replica.fresh())


def test_only_a_nonce_does_not_wait_for_the_disk(database: PostgreSQL, url: str) -> None:
    with as_somebody(url) as other:
        other.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off".encode())
    with closing(PostgreSQL(url)) as opened:
        nonces = NonceTable(opened)
        assert spend(nonces, nonces.fresh())
        with opened.transaction() as transaction:
            assert transaction.rows("SHOW synchronous_commit") == [{"synchronous_commit": "on"}]
        durable = Statement("SELECT 1 WHERE current_setting('synchronous_commit') = 'on'", {}, again)
        assert happens(opened, durable)
        # Nothing of it is the session's, which a pooler gives to others.
        assert opened.rows("SHOW synchronous_commit") == [{"synchronous_commit": "off"}]
    assert database.rows("SHOW synchronous_commit") == [{"synchronous_commit": "on"}]
