"""Our CA in Pebble's place, for suites that other projects run against Pebble: see README.md beside this file."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from pebble_mode import home as homes
from pebble_mode import settings
from pebble_mode.management import Management
from pebble_mode.relay import Relay
from ports import free_port

from acme_iid.config import ca_toml
from acme_iid.store.database import open_store


def main() -> None:
    """Serve until SIGTERM or ctrl-C."""
    wanted = settings.read(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "ca"
        pem = homes.make(home, wanted)
        port = free_port()
        habits = {"nonce_reject": wanted.nonce_reject, "retry_after": wanted.retry_after, "blocked": wanted.blocked}
        command = [sys.executable, "-m", "pebble_mode.application", str(home), str(port), json.dumps(habits)]
        # The child ends when this end of its standard input is closed, be it by SIGKILL.
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
            try:
                _wait(server)
                _open(wanted, home, port, pem)
                server.wait()
            except KeyboardInterrupt:
                pass
            finally:
                server.terminate()


def _open(wanted: settings.Settings, home: Path, port: int, pem: Path) -> None:
    """Let clients in, and say where."""
    if wanted.management is None:
        print("Management interface is disabled", flush=True)
    else:
        management = Management(home, open_store(ca_toml.load(home).store.url), wanted.alternate_roots)
        threading.Thread(target=management.serve_forever, daemon=True).start()
        Relay(wanted.management, management.server_address[1], pem).start()
        print(f"Root CA certificate available at: https://localhost:{wanted.management[1]}/roots/0", flush=True)
    Relay(wanted.listen, port, pem).start()
    print(f"ACME directory available at: {wanted.url}/dir", flush=True)


def _wait(server: subprocess.Popen[str]) -> None:
    """Pass on what the server says, and return once it listens."""
    assert server.stderr is not None
    for line in server.stderr:
        print(line, end="", file=sys.stderr, flush=True)
        if "Listening on" in line:
            threading.Thread(target=_pass_on, args=(server,), daemon=True).start()
            return
    raise SystemExit("the server ended")


def _pass_on(server: subprocess.Popen[str]) -> None:
    assert server.stderr is not None
    for line in server.stderr:
        print(line, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
