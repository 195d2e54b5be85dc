"""What is known of a Pebble is known of its version, and its challtestsrv is told what it understands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.report import Result
from conformance_runs.findings import OTHERS, PEBBLE, of_pebble
from conformance_runs.pebble import challtestsrv
from conformance_runs.versions import DEBIAN, Programs, UnknownVersionError, challtestsrv_flags, pebble_version

# What pebble-challtestsrv of Pebble 2.10.1 says of its flags (-help), shortened.
FLAGS_OF_2_10 = """Usage of pebble-challtestsrv:
  -defaultIPv4 string
    \tDefault IPv4 address for DNS responses to A queries (default "127.0.0.1")
  -defaultIPv6 string
    \tDefault IPv6 address for DNS responses to AAAA queries (default "::1")
  -dnsserver string
    \tComma separated bind addresses/ports for serving DNS queries. Set empty to disable. (default ":8053")
  -doh string
    \tComma separated bind addresses/ports for DoH queries. Set empty to disable. (default ":8443")
  -doh-cert string
    \tPath to certificate file for DoH server.
  -doh-cert-key string
    \tPath to certificate key file for DoH server.
  -http01 string
    \tComma separated bind addresses/ports for HTTP-01 challenges. Set empty to disable. (default ":5002")
  -https01 string
    \tComma separated bind addresses/ports for HTTPS HTTP-01 challenges. Set empty to disable. (default ":5003")
  -management string
    \tBind address/port for management HTTP interface (default ":8055")
  -tlsalpn01 string
    \tComma separated bind addresses/ports for TLS-ALPN-01 challenges. Set empty to disable. (default ":5001")
"""
BEGINNING = ["-https01", "", "-defaultIPv6", ""]


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def saying(folder: Path, text: str) -> str:
    """A program that says something, whatever it is told."""
    (folder / "said").write_text(text)
    return program(folder, f"#!/bin/sh\ncat {folder / 'said'} >&2\nexit 2\n")


def test_a_release_says_its_version(tmp_path: Path) -> None:
    assert pebble_version(saying(tmp_path, "Pebble version: v2.10.1\n")) == "2.10.1"


def test_what_go_install_made_has_its_modules_version_in_it(tmp_path: Path) -> None:
    line = "\nmod\tgithub.com/letsencrypt/pebble/v2\tv2.10.1\th1:oKHx3lgN4e5Nno2LKTMrVx+b+NkDptkO9aDireiBDGE=\n"
    assert pebble_version(program(tmp_path, f"#!/bin/sh\necho Pebble version: dev\nexit 0{line}")) == "2.10.1"


def test_debians_has_its_packages_version() -> None:
    query = ["dpkg-query", "--show", "--showformat", "${source:Upstream-Version}", "pebble"]
    upstream = subprocess.run(query, capture_output=True, text=True, check=True).stdout.partition("+")[0]
    assert pebble_version(DEBIAN.pebble) == upstream
    assert upstream in PEBBLE


def test_a_program_of_an_unknown_version_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownVersionError, match="does not say which Pebble it is: -version says 'Pebble version: dev'"
    ):
        pebble_version(saying(tmp_path, "Pebble version: dev\n"))
    with pytest.raises(UnknownVersionError, match="there is no program /nowhere/pebble"):
        pebble_version("/nowhere/pebble")


def test_a_version_of_which_nothing_is_kept_says_so() -> None:
    with pytest.raises(
        UnknownVersionError, match=r"no findings are kept of Pebble 9\.9\.9; there are those of 2\.4\.0"
    ):
        of_pebble("9.9.9")


def test_findings_are_kept_apart_by_version() -> None:
    old, new = of_pebble("2.4.0"), of_pebble("2.10.1")
    assert "test_the_refusal_of_an_algorithm_has_its_type" in old.known.keys() - new.known.keys()
    assert old.surprises(set(old.known)) == []
    assert old.surprises({*old.known, *old.sometimes}) == []
    assert len(old.surprises(set(new.known))) == len(old.known.keys() ^ new.known.keys())


def test_a_report_on_another_server_is_compared_with_what_is_known_of_it(tmp_path: Path) -> None:
    server, report = "step-ca 0.30.2", tmp_path / "report.json"
    known = OTHERS[server].known
    program = Path(__file__).with_name("compare.py")

    def compared(failed: set[str]) -> subprocess.CompletedProcess[str]:
        results = [Result("", "", "", "MUST", test, "fail", "", []).as_json() for test in failed]
        report.write_text(json.dumps(results))
        return subprocess.run([sys.executable, program, server, report], capture_output=True, text=True, check=False)

    assert compared({*known}).returncode == 0
    done = compared({*known, "test_new"} - {"test_a_key_change_changes_the_key"})
    assert done.returncode == 1
    assert "test_new does not hold, and nobody knows why" in done.stdout
    assert "test_a_key_change_changes_the_key holds, though it is known not to" in done.stdout


def test_challtestsrv_of_2_10_is_told_its_own_flags(tmp_path: Path) -> None:
    flags = challtestsrv_flags(saying(tmp_path, FLAGS_OF_2_10), "127.0.0.1:53")
    assert flags == ["-dnsserver", "127.0.0.1:53", "-doh", "", *BEGINNING]


def test_debians_challtestsrv_is_told_its_own_flags(tmp_path: Path) -> None:
    assert challtestsrv_flags(DEBIAN.challtestsrv, "127.0.0.1:53") == ["-dns01", "127.0.0.1:53", *BEGINNING]
    with challtestsrv(tmp_path) as challenges:
        assert challenges.options[:2] == ("--acme-challtestsrv", challenges.management)


def test_a_challtestsrv_without_a_flag_for_its_dns_server_is_refused(tmp_path: Path) -> None:
    text = "Usage:\n  -management string\n    \twhere\n"
    with pytest.raises(UnknownVersionError, match="has no flag for its DNS server; its flags are management"):
        challtestsrv_flags(saying(tmp_path, text), "127.0.0.1:53")


def test_a_server_that_is_told_what_it_does_not_know_says_so(tmp_path: Path) -> None:
    script = f"""#!/bin/sh
[ $1 != -help ] && exec {DEBIAN.challtestsrv} "$@"
echo '  -dnsserver string'
"""
    programs = Programs(challtestsrv=program(tmp_path, script))
    said = "flag provided but not defined: -dnsserver"
    with pytest.raises(AssertionError, match=said), challtestsrv(tmp_path, programs):
        pass
