"""The addresses that clouds really use, in a network of the test's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from programs import system

METADATA = f"{sys.executable} -m acme_iid.cli metadata --json"


@pytest.mark.parametrize(
    ("address", "listen", "mode"),
    [("169.254.169.254/32", "169.254.169.254:80", "ipv4"), ("fd00:ec2::254/128", "[fd00:ec2::254]:80", "ipv6")],
)
def test_the_metadata_service_is_found_where_ec2_has_it(tmp_path: Path, address: str, listen: str, mode: str) -> None:
    script = f"""
        ip link set lo up
        ip address add {address} dev lo $([ {mode} = ipv4 ] || echo nodad)
        {METADATA} --listen '{listen}' --instance-id i-05e360db6e50b5eda > started &
        for _ in $(seq 300); do [ -s started ] && break; sleep 0.1; done
        AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE={mode} http_proxy=http://127.0.0.1:1 acme-iid evidence
        kill $!
    """
    done = system("unshare", "--net", "bash", "-euc", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "i-05e360db6e50b5eda" in done.stdout


@pytest.mark.parametrize(
    ("cloud", "address", "options", "instance"),
    [
        ("aws", "fd00:ec2::254", "--instance-id i-05e360db6e50b5eda", "i-05e360db6e50b5eda"),
        ("gcp", "fd20:ce::254", "--instance-id 4711", "4711"),
    ],
)
def test_an_instance_without_ipv4_finds_its_cloud(
    tmp_path: Path, cloud: str, address: str, options: str, instance: str
) -> None:
    script = f"""
        ip link set lo up
        ip address add {address}/128 dev lo nodad
        {METADATA} --cloud {cloud} --listen '[{address}]:80' {options} > started &
        for _ in $(seq 300); do [ -s started ] && break; sleep 0.1; done
        acme-iid evidence
        kill $!
    """
    done = system("unshare", "--net", "bash", "-euc", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert instance in done.stdout


def test_a_machine_in_no_cloud_is_told_what_was_tried(tmp_path: Path) -> None:
    # A network with a loopback interface only: nothing leads to any cloud's address.
    done = system("unshare", "--net", "bash", "-euc", "ip link set lo up; acme-iid evidence", cwd=tmp_path)
    assert done.returncode == 12
    assert "This machine does not seem to be a cloud instance" in done.stderr
    assert "169.254.169.254" in done.stderr
    assert "--metadata-url" in done.stderr
