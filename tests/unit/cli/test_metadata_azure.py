from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import forge_azure as fa
from trusting import judged, trusting

from acme_iid.attestation.azure_trust import AzureTenant
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS

COMMAND = (sys.executable, "-c", "from acme_iid.cli.metadata import metadata; metadata()", "--cloud", "azure")


@contextmanager
def running(*options: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    process = subprocess.Popen([*COMMAND, *map(str, options)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _get(url: str, path: str) -> Any:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        connection.request("GET", path, headers={"Metadata": "true"})
        return json.loads(connection.getresponse().read())


def test_a_ca_believes_it_with_the_files_that_it_writes(tmp_path: Path) -> None:
    roots, jwks = tmp_path / "roots.pem", tmp_path / "keys.json"
    facts = ("--instance-id", fa.VM_ID, "--subscription", fa.SUBSCRIPTION, "--tenant", fa.TENANT)
    more = ("--vm-name", "7", "--scale-set", "Fleet", "--resource-group", "Web", "--environment", "government")
    for _ in range(2):
        with running(
            *facts, *more, "--keys", tmp_path / "keys", "--iid-roots-out", roots, "--jwks-out", jwks,
            "--stale-nonces", "1", "--json",
        ) as process:  # fmt: skip
            said = json.loads(_line(process))
            path = f"/metadata/attested/document?api-version=2021-02-01&nonce={fa.BINDING.nonce}"
            stale, attested = (_get(said["url"], path)["signature"] for _ in range(2))
            path = f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={fa.AUDIENCE}"
            token = _get(said["url"], path)["access_token"]
            assert _get(said["url"], urlsplit(said["jwks_url"]).path) == json.loads(jwks.read_bytes())
    assert (said["cloud"], said["instance_id"], said["subscription"]) == ("azure", fa.VM_ID, fa.SUBSCRIPTION)
    assert stale != attested
    tenant = AzureTenant.of("mine", fa.TENANT, fa.AUDIENCE, jwks.read_bytes())
    trust = trusting(azure_roots={"mine": roots.read_bytes()}, google=False, azure_tenants=[tenant])
    verifier, now = VERIFIERS["azure-managed-identity"], int(time.time())
    evidence = Evidence(verifier.format, {"evidence": token, "attested": attested})
    identity = judged(verifier, verifier.authenticate(evidence, trust, now), fa.BINDING, now)
    assert identity.id == f"azure:{fa.SUBSCRIPTION}:{fa.VM_ID}"
    assert (identity.facts["vm_name"], identity.facts["resource_group"]) == ("fleet_7", "web")
    assert identity.facts["environment"] == "government"


def test_for_people_it_says_how_to_use_it(tmp_path: Path) -> None:
    with running("--iid-roots-out", tmp_path / "roots.pem", "--subscription", fa.SUBSCRIPTION) as process:
        said = "".join(_line(process) for _ in range(5))
    assert f"of the subscription {fa.SUBSCRIPTION}." in said
    assert f"--type AZURE --azure-subscription-id {fa.SUBSCRIPTION} --iid-roots {tmp_path / 'roots.pem'}" in said
    assert "acme-iid order NAME --metadata-url http://127.0.0.1:" in said


def test_a_recording_is_replayed(samples: Path) -> None:
    path = max(samples.glob("azure-*.json"))
    with running("--replay", path, "--json") as process:
        served = _get(json.loads(_line(process))["url"], "/metadata/attested/document?api-version=2021-02-01")
    assert served["signature"] == json.loads(path.read_bytes())["signature"]


def test_options_of_other_clouds_do_not_go_with_it() -> None:
    for options, sentence in (
        (("--account", "123456789042"), "--account does not go with --cloud azure"),
        (("--zone", "x"), "--zone does not go with --cloud azure"),
        (("--environment", "moon"), "'moon' is not one of 'public', 'government', 'china'"),
    ):
        done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2
        assert sentence in " ".join(done.stderr.split())
