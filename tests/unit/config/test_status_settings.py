"""The table [status]: where certificates say that their status is, and what is refused there."""

from __future__ import annotations

import pytest
from ca_toml_texts import MINIMAL, parse, refusal

from acme_iid.issuance.leaf import StatusURLs

CRL = 'crl_url = "http://pki.test/{issuer}.crl"\n'
ISSUER = 'issuer_url = "http://pki.test/{issuer}.cer"\n'
OCSP = 'ocsp_url = "http://ocsp.test"\n'
ROOT_CRL = 'root_crl_url = "http://pki.test/{root}.crl"\n'


def status(text: str) -> str:
    return f"{MINIMAL}[status]\n{text}"


def test_without_the_table_and_the_switch_certificates_say_nothing() -> None:
    config = parse(MINIMAL)
    assert (config.shows_status, config.status_urls("ab"), config.root_crl_url) == (False, None, None)


def test_with_the_switch_alone_all_is_below_the_servers_url() -> None:
    config = parse(MINIMAL.replace("[server]", "crl = true\n[server]"))
    urls = StatusURLs("https://ca.local/crl/ab", "https://ca.local/ocsp", "https://ca.local/issuer/ab.cer")
    assert (config.status_urls("ab"), config.root_crl_url) == (urls, None)


@pytest.mark.parametrize(
    ("server", "listen", "base"),
    [
        ("https://ca.local", "0.0.0.0:80", "http://ca.local"),
        ("https://ca.local:8443/acme", "0.0.0.0:8080", "http://ca.local:8080"),
        ("https://[fd00::1]", "[::]:8080", "http://[fd00::1]:8080"),
    ],
)
def test_with_a_listener_the_urls_are_its_own(server: str, listen: str, base: str) -> None:
    config = parse(status(f'listen = "{listen}"').replace("https://ca.local", server))
    assert config.status_urls("ab") == StatusURLs(f"{base}/crl/ab", f"{base}/ocsp", f"{base}/issuer/ab.cer")
    assert config.root_crl_url == f"{base}/root-crl/{{root}}"


def test_urls_that_are_given_are_said_as_they_are() -> None:
    config = parse(status(f'listen = "0.0.0.0:80"\n{CRL}{ISSUER}{OCSP}{ROOT_CRL}'))
    expected = StatusURLs("http://pki.test/ab.crl", "http://ocsp.test", "http://pki.test/ab.cer")
    assert (config.status_urls("ab"), config.root_crl_url) == (expected, "http://pki.test/{root}.crl")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            CRL.replace("{issuer}", "issuer"),
            "[status] crl_url: 'http://pki.test/issuer.crl' needs {issuer} in it, once",
        ),
        (ISSUER.replace("{issuer}", "{root}"), "[status] issuer_url: 'http://pki.test/{root}.cer' needs {issuer}"),
        (CRL.replace("{issuer}", "{issuer}/{root}"), "[status] crl_url: 'http://pki.test/{issuer}/{root}.crl' needs"),
        (OCSP.replace("ocsp.test", "ocsp.test/{issuer}"), "[status] ocsp_url: 'http://ocsp.test/{issuer}' is one URL"),
        (ROOT_CRL.replace("{root}", "root"), "[status] root_crl_url: 'http://pki.test/root.crl' needs {root} in it"),
        (CRL.replace("http:", "ldap:"), "[status] crl_url: 'ldap://pki.test/{issuer}.crl' is no http or https URL"),
        (CRL.replace("pki", "p k i"), "[status] crl_url: 'http://p k i.test/{issuer}.crl' is no URL of a page"),
        ('listen = "80"', "[status] listen: '80' is no address to listen on"),
        ('crl = "http://pki.test"', "unknown key 'crl' in [status]; the nearest known one is"),
    ],
)
def test_what_cannot_be_said_is_refused(text: str, reason: str) -> None:
    switched = status(text).replace("[server]", "crl = true\n[server]")
    assert refusal(switched).startswith(reason)


@pytest.mark.parametrize("text", [CRL, ISSUER, OCSP])
def test_a_url_of_what_is_not_shown_is_refused(text: str) -> None:
    key = text.partition(" ")[0]
    assert refusal(status(text)).startswith(f"[status] {key}: is of no use where no status is shown; give listen too")
    assert parse(status(text).replace("[server]", "crl = true\n[server]")).shows_status
    assert parse(status(ROOT_CRL)).status_urls("ab") is None
