"""AWS KMS on loopback, and the example's program that signs with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from pages import REPOSITORY

from acme_iid.signing.places import ProgramPlace

EXAMPLE = REPOSITORY / "docs" / "examples" / "sign-with-kms.py"
ALIAS = "alias/acme"
REGION = "eu-central-1"
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class KMS:
    """A key service, and the program as it is installed.

    :ivar program: a copy of the example.
    :ivar folder: what the service has been asked, and what is to go wrong with it.
    """

    port: int
    program: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Where boto3 finds the service, its region and credentials."""
        return {
            "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{self.port}",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    @property
    def place(self) -> ProgramPlace:
        """Where the key with the alias is."""
        return ProgramPlace((str(self.program),), ALIAS)

    def make_key(self, kind: str, alias: str = ALIAS) -> None:
        """Make a key.

        :param kind: as KMS calls it, such as ``ECC_NIST_P256``.
        """
        made = self._call("CreateKey", KeySpec=kind, KeyUsage="SIGN_VERIFY")
        self._call("CreateAlias", AliasName=alias, TargetKeyId=made["KeyMetadata"]["KeyId"])

    def asked(self) -> list[dict[str, Any]]:
        """What came to be signed, with the octets of each message as its ``length``."""
        return [json.loads(line) for line in (self.folder / "requests").read_text().splitlines()]

    def fail(self, fault: str) -> None:
        """Have the service fail until it recovers, as its source says."""
        partial = self.folder / "fault.new"
        partial.write_text(fault)
        partial.rename(self.folder / "fault")

    def recover(self) -> None:
        """End a fault."""
        (self.folder / "fault").unlink(missing_ok=True)

    def _call(self, operation: str, **members: str) -> dict[str, Any]:
        scope = f"an-id/20300101/{REGION}/kms/aws4_request"
        headers = {
            "X-Amz-Target": f"TrentService.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        }
        found = requests.post(f"http://127.0.0.1:{self.port}/", json=members, headers=headers, timeout=60)
        found.raise_for_status()
        return dict(found.json() or {})


@contextmanager
def serve(folder: Path) -> Iterator[KMS]:
    """Run the service as a process of its own."""
    folder.mkdir()
    program = folder / "sign-with-kms"
    program.touch(mode=0o755)
    program.write_bytes(EXAMPLE.read_bytes())
    with subprocess.Popen([sys.executable, HERE / "key_service.py", folder], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield KMS(int(process.stdout.readline()), program, folder)
        finally:
            process.kill()
