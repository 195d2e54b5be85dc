"""A token's PIN goes through keys that are made, used, refused and killed; nothing that is said has it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from canary import CANARY, Told
from processes import arguments, children
from running import CA
from signing import homes
from signing.softhsm import SoftHSM

WRONG = "Another4b1dfPinThatIsNoneHere"


@pytest.mark.parametrize("format_", ["text", "json", "logfmt"])
def test_no_pin_is_told(token: SoftHSM, tmp_path: Path, format_: str) -> None:
    told = Told()
    told.hide("the wrong PIN", WRONG)
    command = ["softhsm2-util", "--init-token", "--free", "--label", "canary", "--pin", CANARY, "--so-pin", "87654321"]
    subprocess.run(command, capture_output=True, check=True, timeout=60)
    place = token.place(token="canary")
    ca = CA(tmp_path / "home")

    def say(*options: str | Path) -> None:
        done = ca.try_cli(*options)
        told.texts.append(done.stdout + done.stderr)

    # PINs that are wrong, several lines, none, or everybody's to read; and one in the wrong place.
    for number, content in enumerate((f"{WRONG}\n", f"{WRONG}\n{WRONG}\n", "", f"{WRONG}{WRONG * 40}")):
        token.pin.write_text(content)
        say("init", *homes.NAMES, "--key", str(place), "--generate")
        assert not ca.root.exists(), number
    token.pin.write_text(f"{CANARY}\n")
    say("init", *homes.NAMES, "--key", f"pkcs11:token=canary;object=key?pin-value={WRONG}")
    say("init", *homes.NAMES, "--key", f"{place}&pin-value={WRONG}")
    ca.init(in_a_file=True, made_with=("--key", str(place), "--generate"))
    ca.start("--log-format", format_, "--log-level", "debug")
    assert ca.process is not None
    session = ca.wire().session
    (asked,) = children(ca.process.pid)
    told.texts.append(str(arguments(asked)))
    token.pin.write_text(f"{WRONG}\n")
    os.kill(asked, signal.SIGABRT)
    # Its own certificate is new with each reload.
    ca.process.send_signal(signal.SIGHUP)
    ca.until_logged("The server's own certificate was not renewed: the key pkcs11:")
    for path in ("health", "readyz"):
        told.hear(session.get(f"{ca.url}/{path}", timeout=60))
    for options in ("check", "issuer status --json", "status --json", "policy show --json", "events --json"):
        say(*options.split())
    ca.kill()
    told.texts += ca.log
    assert told.texts[-1]
    assert [(what, text) for text in told.texts if (what := told.given_away(text))] == []
