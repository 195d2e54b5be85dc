"""All acts together, with the one that describes them."""

from __future__ import annotations

from typing import Any

from acme_iid.admin import openapi
from acme_iid.admin.acts import Act
from acme_iid.admin.table import (
    accounts,
    bulk,
    callers,
    certificates,
    configuration,
    events,
    external_keys,
    instances,
    over_time,
    state,
)

ACTS: tuple[Act[Any], ...] = (
    *instances.ACTS,
    *certificates.ACTS,
    *accounts.ACTS,
    *external_keys.ACTS,
    *events.ACTS,
    *state.ACTS,
    *over_time.ACTS,
    *bulk.ACTS,
    *configuration.ACTS,
    *callers.ACTS,
    openapi.act(lambda: ACTS),
)
"""All of them."""
