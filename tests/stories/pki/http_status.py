"""A CA whose certificates' status can be seen by plain HTTP, on a port of its own."""

from __future__ import annotations

from running import CA


def turn_on(ca: CA, port: int) -> None:
    """Have a CA, not started yet, listen on a port of loopback for all who ask for status."""
    file = ca.home / "ca.toml"
    text, listen = file.read_text(), f'[status]\nlisten = "127.0.0.1:{port}"\n'
    # ``init --root-crl-url`` has written the table.
    written = "\n[status]\n" in text
    file.write_text(text.replace("\n[status]\n", f"\n{listen}", 1) if written else f"{text}\n{listen}")
