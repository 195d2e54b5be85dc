"""Serve the tls-alpn-01 certificates that a client keeps in a folder (NAME.crt.pem, NAME.key.pem), by name (RFC 8737).

python3 alpn_responder.py PORT FOLDER
"""

import socketserver
import ssl
import sys
from pathlib import Path
from typing import ClassVar


class Responder(socketserver.BaseRequestHandler):
    """One connection: a handshake with the certificate of the name that is asked for, and nothing after it."""

    folder: ClassVar[Path]

    def _context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["acme-tls/1"])
        context.load_cert_chain(self.folder / f"{name}.crt.pem", self.folder / f"{name}.key.pem")
        return context

    def handle(self) -> None:
        def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self._context(name or "")

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["acme-tls/1"])
        context.sni_callback = choose
        context.wrap_socket(self.request, server_side=True).close()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Responder.folder = Path(sys.argv[2])
    with Server(("127.0.0.1", int(sys.argv[1])), Responder) as server:
        server.serve_forever()
