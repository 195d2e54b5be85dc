"""The process that answers operators can open no key, and reach no process that can; no kernel without that is used."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import postgresql
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from operators import ROOT, OperatorCA, Steered, bundle, role_table
from processes import children
from running import SECONDS

from acme_iid.admin import confinement

PROGRAM = """
import ctypes, errno, json, os, socket, sys
from pathlib import Path
from acme_iid.admin import worker
from acme_iid.config import ca_toml
home, temporary, server, keys = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
database = worker.confined_store(ca_toml.load(home), temporary)
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def tried(what, act):
    try:
        act()
        found[what] = "done"
    except OSError as error:
        found[what] = errno.errorcode[error.errno]
for key in keys:
    tried(key, lambda: open(key, "rb").read(1))
    tried(key + " to write", lambda: open(key, "ab"))
for name in ("mem", "environ", "maps", "cmdline", "root/etc/hostname", "cwd"):
    tried("/proc/server/" + name, lambda: open(f"/proc/{server}/{name}", "rb").read(1))
def traced(*arguments):
    if libc.ptrace(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
tried("attach", lambda: traced(16, server, 0, 0))
tried("seize", lambda: traced(0x4206, server, 0, 0))
class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))
def read_memory():
    buffer = ctypes.create_string_buffer(8)
    here, there = Vector(ctypes.addressof(buffer), 8), Vector(id(buffer), 8)
    if libc.process_vm_readv(server, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
tried("read memory", read_memory)
def file_of_another():
    pidfd = os.pidfd_open(server)
    if libc.syscall(438, pidfd, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
tried("take a file", file_of_another)
tried("signal", lambda: os.kill(server, 0))
tried("run a program", lambda: os.execv("/bin/true", ["true"]))
tried("new file in the home", lambda: open(home / "new", "wb"))
tried("rename a key", lambda: os.rename(keys[0], keys[0] + ".x"))
tried("link a key", lambda: os.link(keys[0], home / "linked"))
tried("remove a key", lambda: os.unlink(keys[0]))
tried("listen elsewhere", lambda: socket.create_server(("127.0.0.1", 0)).close())
tried("password", lambda: open("/etc/shadow").read(1))
# What it needs.
tried("certificate", lambda: open(home / "certs/root_ca.crt").read(1))
tried("store", lambda: database.rows("SELECT count(*) AS number FROM events"))
tried("store again", lambda: __import__("sqlite3").connect(home / "ca.db").execute("SELECT 1 FROM events").fetchall())
tried("own files", lambda: (temporary / "sorted").write_bytes(b"x"))
tried("modules", lambda: __import__("xml.dom.minidom"))
print(json.dumps(found))
"""
"""A program that confines itself as the process does, and then tries all that it may not do."""

DENIED = {"EACCES", "EPERM", "EXDEV"}
LATER = {"signal": 6, "listen elsewhere": 4}
"""What only later versions of Landlock keep from a process."""
NEEDED = ("certificate", "store", "store again", "own files", "modules")


@pytest.fixture
def served(steered: Steered, tmp_path: Path) -> Steered:
    """A server that answers operators, on TLS as well."""
    steered.configure(role_table("viewer", users=["games"]), listen=OperatorCA().write(tmp_path))
    steered.start()
    return steered


def keys_of(home: Path) -> list[Path]:
    """Every file in a home with a private key, the TLS ones among them."""
    found = [path for path in home.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert {path.parent.name for path in found} == {"secrets", "tls"}
    return found


def test_a_process_that_is_confined_so_opens_no_key_and_no_process(served: Steered, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    keys = list(map(str, keys_of(served.ca.home)))
    done = subprocess.run([sys.executable, "-c", PROGRAM, served.ca.home, temporary, str(served.server), *keys],
                          capture_output=True, text=True, check=False, timeout=SECONDS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {what: found.pop(what) for what in NEEDED} == dict.fromkeys(NEEDED, "done")
    allowed = {what for what, end in found.items() if end not in DENIED}
    assert allowed == {what for what, version in LATER.items() if confinement.version() < version}, found
    assert keys_of(served.ca.home)


def test_the_process_confines_itself_before_it_listens(steered: Steered, tmp_path: Path) -> None:
    steered.configure(role_table("viewer", users=["games"]))
    trace = tmp_path / "trace"
    steered.start(prefix=("strace", "-f", "-qq", "-o", str(trace), "-e",
                          "trace=landlock_restrict_self,prctl,accept,accept4,clone,clone3"))  # fmt: skip
    stop_traced(steered)
    (confined,) = re.findall(r"^(\d+) +landlock_restrict_self\(\d+, 0\) += 0$", trace.read_text(), re.MULTILINE)
    of_process = [line for line in trace.read_text().splitlines() if line.startswith(f"{confined} ")]
    place = next(place for place, line in enumerate(of_process) if "landlock_restrict_self" in line)
    assert any("PR_SET_NO_NEW_PRIVS, 1" in line for line in of_process[:place])
    assert not any(re.search(r"accept|CLONE_THREAD", line) for line in of_process[:place])
    assert any("accept" in line for line in of_process[place:])


def stop_traced(steered: Steered) -> int:
    """Stop a server that strace has started; returns the exit status."""
    (server,) = children(steered.server)
    os.kill(server, signal.SIGTERM)
    assert steered.ca.process is not None
    code = steered.ca.process.wait(timeout=SECONDS)
    steered.ca.process = None
    return code


def test_the_process_that_answers_can_have_no_new_rights(served: Steered) -> None:
    assert "NoNewPrivs:\t1" in Path(f"/proc/{served.worker}/status").read_text()


def test_no_process_beside_the_server_has_a_key_in_memory(steered: Steered) -> None:
    steered.configure(role_table("viewer", users=["games"]))
    steered.start()
    secrets = [numbers for file in keys_of(steered.ca.home) for numbers in scalars(file)]
    assert any(found(steered.server, secret) for secret in secrets), "the search finds none where there is one"
    for pid in (steered.keeper, steered.worker):
        assert not any(found(pid, secret) for secret in secrets)


def scalars(file: Path) -> list[bytes]:
    """The secret number of a key, as files and as memory have it."""
    key = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    number = key.private_numbers().private_value
    length = (key.key_size + 7) // 8
    return [number.to_bytes(length, "big"), number.to_bytes(length, "little")]


def found(pid: int, secret: bytes) -> bool:
    """Whether a process has something in its memory."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:  # noqa: PTH123
        for line in maps:
            span, rights, *_ = line.split()
            if "r" not in rights or "[v" in line:
                continue
            begin, end = (int(number, 16) for number in span.split("-"))
            try:
                memory.seek(begin)
                if secret in memory.read(end - begin):
                    return True
            except (OSError, ValueError):
                continue
    return False


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP", "EPERM"])
def test_without_landlock_a_server_with_operators_does_not_start(steered: Steered, error: str) -> None:
    steered.configure()
    inject = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=landlock_create_ruleset:error={error}")
    command = [*inject, sys.executable, "-m", "acme_iid.cli", "--home", str(steered.ca.home), "serve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 1
    assert "[admin] takes Landlock, which keeps the CA's keys from the process that answers operators" in done.stderr
    assert not steered.socket.exists()


def test_without_landlock_a_server_without_operators_starts(steered: Steered) -> None:
    inject = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=landlock_create_ruleset:error=ENOSYS")
    steered.ca.start(prefix=inject)
    assert stop_traced(steered) == 0


def test_a_process_that_cannot_confine_itself_answers_nobody(steered: Steered) -> None:
    steered.configure()
    inject = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=landlock_restrict_self:error=EPERM")
    steered.ca.start(prefix=inject)
    steered.ca.until_logged("Operators cannot be answered")
    steered.ca.until_logged("it is started again in")
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(2)
        stream.connect(str(steered.socket))
        stream.sendall(b"GET /instances HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(TimeoutError):
            stream.recv(1)
    stop_traced(steered)


# Stores on other machines


@pytest.mark.parametrize("way", ["tcp", "unix socket"])
def test_a_store_in_postgresql_is_used_from_there(steered: Steered, way: str) -> None:
    cluster = postgresql.cluster()
    use_store(steered, cluster.create() + (f"?host={cluster.home}" if way == "unix socket" else ""))
    steered.configure(role_table("operator", users=["daemon"]))
    steered.start()
    made = ROOT.post(steered.socket, "/eab", {"reason": "in PostgreSQL"})
    assert made.status in (200, 201), made
    assert ROOT.get(steered.socket, "/eab").json["items"]
    end_sessions(postgresql.cluster())
    steered.until_answered()  # by connections that are made under the rules


def end_sessions(cluster: postgresql.Cluster) -> None:
    """End all connections to a cluster."""
    with postgresql.as_somebody(cluster.url("postgres")) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 't%'")


def test_the_files_of_tls_that_a_stores_url_names_are_read(steered: Steered, tmp_path: Path) -> None:
    cluster = postgresql.Cluster()
    try:
        authority = OperatorCA("Database-Root")
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        pair = bundle(tmp_path, key, authority.sign(key.public_key(), "127.0.0.1", alternative=alternative))
        served = cluster.home / "data" / "server.pem"
        shutil.copy(pair, served)
        shutil.chown(served, "postgres")
        served.chmod(0o600)
        with (cluster.home / "data" / "postgresql.conf").open("a") as settings:
            settings.write("ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.pem'\n")
        cluster.start()
        # Where no rule is but that for the file itself.
        roots = authority.write(tmp_path)
        url = f"{cluster.create_apart()}?sslmode=verify-full&sslrootcert={roots}"
        use_store(steered, url)
        steered.configure()
        steered.start()
        assert ROOT.get(steered.socket).status == 200
    finally:
        cluster.remove()


def use_store(steered: Steered, url: str) -> None:
    file = steered.ca.home / "ca.toml"
    file.write_text(re.sub(r'^url = "sqlite:.*"$', f'url = "{url}"', file.read_text(), flags=re.MULTILINE))
