"""Pebble's management endpoints over the CA's files and store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pebble_mode.home import alternate
from running import CA
from writing import put

from acme_iid.protocol.renewal import Window
from acme_iid.store import certificates
from acme_iid.store.database import Database

_END = "-----END CERTIFICATE-----\n"


class Management(ThreadingHTTPServer):
    """An HTTP server for the endpoints, on a loopback port of its choice."""

    daemon_threads = True

    def __init__(self, home: Path, database: Database, alternate_roots: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.database = database
        others = [alternate(home, number) for number in range(1, alternate_roots + 1)]
        ca = CA(home)
        self.pems: dict[str, list[str]] = {
            "roots": [path.read_text() for path in (ca.root, *(other.root for other in others))],
            "root-keys": [path.read_text() for path in (ca.root_key, *(other.key for other in others))],
            "intermediates": [
                path.read_text().partition(_END)[0] + _END
                for path in (ca.intermediate, *(other.chain for other in others))
            ],
            "intermediate-keys": [ca.intermediate_key.read_text()] * (1 + alternate_roots),
        }

    def status(self, serial: str) -> dict[str, object] | None:
        """What cert-status-by-serial says; None of a certificate that was not issued here."""
        found = certificates.by_serial(self.database, serial)
        if found is None:
            return None
        pem = x509.load_der_x509_certificate(found.der).public_bytes(Encoding.PEM).decode()
        known: dict[str, object] = {"Certificate": pem, "Serial": serial}
        if found.revoked_at is None:
            return known | {"Status": "Valid"}
        revoked_at = datetime.fromtimestamp(found.revoked_at, UTC).isoformat()
        return known | {"Status": "Revoked", "RevokedAt": revoked_at, "Reason": found.revocation_reason or 0}

    def set_renewal_info(self, body: bytes) -> bool:
        """Move a certificate's window; False if it was not issued here.

        :raises ValueError, KeyError, TypeError, AttributeError: if the request is none.
        """
        # Go takes the names of members in any case.
        members = {name.lower(): value for name, value in json.loads(body).items()}
        serial = x509.load_pem_x509_certificate(members["certificate"].encode()).serial_number
        window = json.loads(members["ariresponse"])["suggestedWindow"]
        start, end = (int(datetime.fromisoformat(window[key]).timestamp()) for key in ("start", "end"))
        found = certificates.by_serial(self.database, f"{serial:x}")
        if found is None:
            return False
        put(self.database, certificates.set_window(found, Window(start, end)))
        return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Management

    def do_GET(self) -> None:
        kind, _, which = self.path.strip("/").partition("/")
        pems = self.server.pems.get(kind, [])
        if which.isascii() and which.isdigit() and int(which) < len(pems):
            links = [
                ("Link", f'<https://{self.headers["Host"]}/{kind}/{number}>;rel="alternate"')
                for number in range(len(pems))
                if number != int(which)
            ]
            self._answer(200, pems[int(which)].encode(), "application/pem-certificate-chain", links)
        elif kind == "cert-status-by-serial" and re.fullmatch("[0-9a-fA-F]{1,40}", which):
            status = self.server.status(f"{int(which, 16):x}")
            self._answer(404 if status is None else 200, json.dumps(status).encode(), "application/json")
        else:
            self._answer(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path.rstrip("/") != "/set-renewal-info":
            self._answer(404)
            return
        try:
            self._answer(200 if self.server.set_renewal_info(body) else 404)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._answer(400, str(error).encode())

    def _answer(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = "text/plain",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.send_response(status)
        length = ("Content-Length", str(len(body)))
        for name, value in (("Content-Type", f"{content_type}; charset=utf-8"), length, *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
