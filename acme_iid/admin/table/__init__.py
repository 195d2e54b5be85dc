"""The acts that operators may ask for, a module for each subject."""

from __future__ import annotations

from typing import Any

from acme_iid.admin import openapi
from acme_iid.admin.acts import Act
from acme_iid.admin.table import accounts, bulk, certificates, configuration, events, external_keys, instances, state

ACTS: tuple[Act[Any], ...] = (
    *instances.ACTS,
    *certificates.ACTS,
    *accounts.ACTS,
    *external_keys.ACTS,
    *events.ACTS,
    *state.ACTS,
    *bulk.ACTS,
    *configuration.ACTS,
    openapi.act(lambda: ACTS),
)
"""All of them."""
