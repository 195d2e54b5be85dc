"""What is in the Debian packages: the client's closure, and nothing that Debian's own checks find."""

from __future__ import annotations

import configparser
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import grimp
import pytest
from packages import building
from packages.debian import deb

SETUP = configparser.ConfigParser()
SETUP.read(building.REPOSITORY / "setup.cfg")
CONTROL = building.REPOSITORY / "packaging" / "debian"
BUILD_ONLY = "acme_iid_client.build_backend"


def files(package: Path) -> list[str]:
    listed = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    names = subprocess.run(["tar", "-t"], input=listed, check=True, capture_output=True).stdout.decode()
    return [name.removeprefix("./") for name in names.splitlines()]


def modules(package: Path) -> set[str]:
    """Our modules in a package."""
    found = (re.search(r"(?:site|dist)-packages/((?:certbot_)?acme_iid\w*/.*|acme_iid\w*/.*)\.py$", name)
             for name in files(package))  # fmt: skip
    return {match[1].removesuffix("/__init__").replace("/", ".") for match in found if match}


def closure(root: str) -> set[str]:
    """What a package leans on, by the very graph that the import contract is checked with."""
    graph = grimp.build_graph(
        "acme_iid", "acme_iid_client", "certbot_acme_iid", exclude_type_checking_imports=True, cache_dir=None
    )
    waiting = [name for name in graph.modules if name.partition(".")[0] == root and name != BUILD_ONLY]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name and name not in found:
            found.add(name)
            waiting += [*graph.find_modules_directly_imported_by(name), name.rpartition(".")[0]]
    return found


@pytest.mark.parametrize(
    ("package", "root"), [("acme-iid", "acme_iid_client"), ("python3-certbot-acme-iid", "certbot_acme_iid")]
)
def test_a_package_has_what_its_imports_reach_and_no_more(package: str, root: str, debs: Path) -> None:
    assert modules(deb(debs, package)) == closure(root)


@pytest.mark.parametrize(("package", "pinned"), [("acme-iid", "client"), ("acme-iid-ca", "server")])
def test_a_package_has_the_libraries_of_its_pinned_list(package: str, pinned: str, debs: Path) -> None:
    text = (building.REPOSITORY / "packaging/requirements" / f"{pinned}.txt").read_text()
    expected = {f"{name}-{version}" for name, version in re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE)}
    found = {
        match[1].lower() for name in files(deb(debs, package)) if (match := re.search(r"/([^/]+)\.dist-info/$", name))
    }
    there = {
        re.sub(r"[_.]", "-", name) + f"-{version}" for name, _, version in (each.rpartition("-") for each in found)
    }
    # pip would be there for a program of a library's.
    assert there - {f"acme-iid-{SETUP['metadata']['version']}"} == {name for name in expected if name[:4] != "pip-"}


def test_the_plugins_package_asks_for_what_its_distribution_needs() -> None:
    """certbot loads no plugin of a distribution that lacks something."""
    needs = re.findall(r"^([\w-]+)>=(\S+)$", SETUP["options"]["install_requires"], re.MULTILINE)
    control = (CONTROL / "python3-certbot-acme-iid" / "control").read_text()
    for name, version in needs:
        assert f" python3-{name.lower().removeprefix('py')} (>= {version})" in control, name


def test_manual_pages_completions_and_units_are_where_debian_has_them(debs: Path) -> None:
    for name in ("acme-iid", "acme-iid-ca"):
        there = set(files(deb(debs, name)))
        assert there >= {
            f"usr/bin/{name}",
            f"usr/share/man/man1/{name}.1.gz",
            f"usr/share/bash-completion/completions/{name}",
            f"usr/share/zsh/vendor-completions/_{name}",
            f"usr/share/fish/vendor_completions.d/{name}.fish",
        }
    units = [name for name in files(deb(debs, "acme-iid")) if name.startswith("usr/lib/systemd/system/acme")]
    assert len(units) == 8
    text = subprocess.run(
        ["tar", "-xO", *(f"./{unit}" for unit in units)], check=True, capture_output=True,
        input=subprocess.run(["dpkg-deb", "--fsys-tarfile", deb(debs, "acme-iid")], check=True,
                             capture_output=True).stdout,
    ).stdout.decode()  # fmt: skip
    assert "/usr/bin/acme-iid renew --daemon" in text
    assert "/usr/local/bin/acme-iid" not in text


@pytest.mark.parametrize("package", ["acme-iid", "acme-iid-ca", "python3-certbot-acme-iid"])
def test_lintian_finds_nothing_that_has_no_reason(package: str, debs: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", deb(debs, package)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_each_exception_of_lintians_has_its_reason_before_it() -> None:
    files = list(CONTROL.glob("*/lintian-overrides"))
    assert len(files) == 2
    for file in files:
        for before, line in pairwise(["", *file.read_text().splitlines()]):
            assert line.startswith("#") or before.startswith("#"), line
