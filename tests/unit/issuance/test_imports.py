"""A chain that somebody else signed: twenty that do not fit are refused, each with its sentence; those that fit are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acme_iid.issuance import ceremony, imports
from acme_iid.issuance.keys import CAFileError, PrivateKey

NOW = 1_800_000_000
YEAR = 365 * 86400
