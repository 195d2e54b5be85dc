"""What a program is made of, for ``--version``: whoever reads of a hole in OpenSSL asks which one is inside."""

from __future__ import annotations


def lines(program: str) -> str:
    """A program's version, with the libraries that its keys, its signatures and its TLS rest on.

    Python's own OpenSSL is the system's or whoever's built that Python; that of cryptography is inside its wheel.
    """
    import platform  # noqa: PLC0415 - asked for seldom, and what it takes is slow to import
    import ssl  # noqa: PLC0415
    from importlib.metadata import version  # noqa: PLC0415

    from cryptography.hazmat.backends.openssl import backend  # noqa: PLC0415

    return (
        f"{program} {version('acme-iid')}\n"
        f"Python {platform.python_version()} ({ssl.OPENSSL_VERSION})\n"
        f"cryptography {version('cryptography')} ({backend.openssl_version_text()})"
    )
