"""Verifies a chain strictly: by_pyopenssl.py ROOT CHAIN. It writes its OpenSSL's version, and exits with the reason."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from OpenSSL import SSL, crypto

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)


def certificates(path: str) -> list[crypto.X509]:
    return [crypto.load_certificate(crypto.FILETYPE_PEM, pem) for pem in _PEM.findall(Path(path).read_bytes())]


def main() -> None:
    print(SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode(), flush=True)
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.X509_STRICT)
    for root in certificates(sys.argv[1]):
        store.add_cert(root)
    leaf, *above = certificates(sys.argv[2])
    try:
        crypto.X509StoreContext(store, leaf, above).verify_certificate()
    except crypto.X509StoreContextError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
