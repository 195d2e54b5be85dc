"""A CA's roots as other programs' stores take them: commands that bring the certificates along."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from acme_iid_client.acme.known_ca import Roots
from acme_iid_client.storage.trust_store import name_of
from acme_iid_client.x509.certificates import to_pem


def _pem(roots: Roots) -> str:
    return to_pem(*roots).decode("ascii")


def _here(command: str, roots: Roots) -> str:
    """A command for each root, with the certificate in PEM on its standard input.

    :param command: it has ``{name}`` where the root's name goes.
    """
    return "".join(f"{command.format(name=name_of(root))} <<'END'\n{_pem((root,))}END\n" for root in roots)


def _imported(keystore: str, roots: Roots) -> str:
    """Commands of Java's keytool, which refuses a name that is there already."""
    options = f"{keystore} -alias {{name}}"
    return _here(f"keytool -list {options} >/dev/null 2>&1 || keytool -importcert -noprompt {options}", roots)


def _java(roots: Roots) -> str:
    return (
        "set -e\n"
        "# For root: the keystore of the Java whose keytool is on the PATH. On Debian, 'acme-iid trust install' has\n"
        "# ca-certificates-java do it.\n" + _imported("-cacerts -storepass changeit", roots)
    )


def _pkcs12(roots: Roots) -> str:
    return (
        "set -e\n"
        'KEYSTORE="${KEYSTORE:-truststore.p12}"\n'
        "# Java takes it with: -Djavax.net.ssl.trustStore=truststore.p12 -Djavax.net.ssl.trustStorePassword=changeit\n"
        + _imported('-keystore "$KEYSTORE" -storetype PKCS12 -storepass changeit', roots)
    )


def _nss(roots: Roots) -> str:
    return (
        "set -e\n"
        "# Chrome's database. Firefox has one in each profile: NSSDB=~/.mozilla/firefox/PROFILE\n"
        'NSSDB="${NSSDB:-$HOME/.pki/nssdb}"\n'
        'mkdir -p "$NSSDB"\n'
        'test -e "$NSSDB/cert9.db" || certutil -N -d "sql:$NSSDB" --empty-password\n'
        + _here('certutil -A -d "sql:$NSSDB" -t C,, -n {name} -a', roots)
    )


def _rhel(roots: Roots) -> str:
    return (
        "set -e\n# For root.\n"
        + _here("cat > /etc/pki/ca-trust/source/anchors/{name}.pem", roots)
        + "update-ca-trust extract\n"
    )


FORMATS: Mapping[str, Callable[[Roots], str]] = {
    "pem": _pem,
    "java": _java,
    "pkcs12": _pkcs12,
    "nss": _nss,
    "rhel": _rhel,
}
"""The writer for each store. What is written is for a POSIX shell, and holds nothing but roots and their names."""
