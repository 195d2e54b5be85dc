"""Apache's mod_md: http-01 and tls-alpn-01 by itself, dns-01 by a command.

It renews what ends inside a window, and takes over what it has got when Apache starts the next time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from interop.harness import Client, Files, running, set_txt, until

# mod_md runs it as "setup NAME VALUE" and "teardown NAME", without Apache's environment.
HOOK = f"""#!/bin/sh
CHALLTESTSRV=%s
[ "$1" = setup ] || exit 0
{set_txt("_acme-challenge.$2.", "$3")}
"""
CONFIGURATION = """
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule md_module /usr/lib/apache2/modules/mod_md.so
User www-data
Group www-data
ServerRoot {home}
DefaultRuntimeDir {home}
PidFile {home}/apache.pid
Mutex file:{home}
ErrorLog {home}/error.log
LogLevel md:debug
DocumentRoot {home}/htdocs
ServerName {first}
Listen 127.0.0.1:{http_port}
Listen 127.0.0.1:{tls_port} https

MDStoreDir {home}/md
MDPortMap http:{http_port} https:{tls_port}
MDCertificateAuthority {directory}
MDCACertificateFile {home}/root.pem
MDCertificateAgreement accepted
MDContactEmail a@example.com
MDCAChallenges {challenge}
MDChallengeDns01 {home}/hook
MDPrivateKeys {key}
MDRenewViaARI off
MDInitialDelay 0s
MDBaseServer on
MDomain {names} manual
{binding}
<VirtualHost *:{tls_port}>
    ServerName {first}
    ServerAlias {names}
    SSLEngine on
    Protocols http/1.1 acme-tls/1
</VirtualHost>
"""


class ModMd(Client):
    name = "mod_md"
    package = "apache2-bin"
    version = "2.4."
    program = "/usr/sbin/apache2"
    file = "/usr/lib/apache2/modules/mod_md.so"
    challenges = ("http-01", "dns-01", "tls-alpn-01")
    renews_by = "MDRenewWindow"
    revokes_by = None
    _first: str
    _home: Path
    _configuration: str

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        site = self.site
        # Apache's workers are not root, and a test's folder is root's alone.
        self._home = home = Path(site.stack.enter_context(TemporaryDirectory()))
        home.chmod(0o755)
        (home / "root.pem").write_bytes(self.root.read_bytes())
        (home / "hook").write_text(HOOK % site.names.management)
        (home / "hook").chmod(0o755)
        (home / "htdocs").mkdir()
        (home / "error.log").touch()
        self._first = names[0]
        self._configuration = CONFIGURATION.format(
            home=home,
            first=names[0],
            names=" ".join(names),
            http_port=site.http_port,
            tls_port=site.tls_port,
            directory=self.server.directory,
            challenge=challenge,
            key="P-256" if key == "ec" else "RSA 2048",
            binding=f"MDExternalAccountBinding {self.eab.kid} {self.eab.key}" if self.eab else "",
        )
        return self._drive("1%")

    def renew(self) -> Files:
        return self._drive("3650d")

    def _drive(self, window: str) -> Files:
        """Run Apache until it has got a certificate, and once more to take it over."""
        log = self._home / "error.log"
        staged = self._home / "md" / "staging" / self._first
        # The certificate's file comes before the note that the job is finished, and without that note
        # a start takes nothing over.
        self._apache(window, lambda: finished(staged / "job.json") or "peer certificate" in log.read_text())
        assert finished(staged / "job.json"), log.read_text()
        self._apache("1%", lambda: not staged.exists())
        folder = self._home / "md" / "domains" / self._first
        (certificate,), (key,) = folder.glob("pubcert*.pem"), folder.glob("privkey*.pem")
        return Files(certificate, certificate, key)

    def _apache(self, window: str, done: Callable[[], bool]) -> None:
        path = self._home / "apache.conf"
        path.write_text(self._configuration + f"MDRenewWindow {window}\n")
        log = self._home / "apache.log"
        with running(self.program, "-DFOREGROUND", "-f", path, env=self.site.env(), log=log) as apache:
            until(lambda: done() or apache.poll() is not None, f"mod_md ({self._home})")
        assert done(), log.read_text()


def finished(job: Path) -> bool:
    """Whether mod_md has noted in its staging area that it has got everything."""
    try:
        return json.loads(job.read_text())["finished"] is True
    except (OSError, ValueError, KeyError):  # not there yet, or being written
        return False
