"""The table ``[metrics]`` of ca.toml: where the server's numbers are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from acme_iid.config import parsers, setting_reader
from acme_iid.config.table import Table
from acme_iid.policy.setting import described, settings_of
from acme_iid.protocol.addresses import Listen


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """The table ``[metrics]``."""

    listen: Listen | None = field(
        default=None,
        metadata=described(
            'an address such as "127.0.0.1:9180"',
            "A further address on which the server listens, for plain HTTP: /metrics for Prometheus, /livez and "
            "/readyz, and nothing else. Whoever reaches it reads them.",
            parsers.listen_address,
            absent="no further one; nothing is measured",
        ),
    )


def read(table: Table) -> MetricsSettings:
    """Read the table.

    :raises ConfigError: if it is invalid.
    """
    settings = MetricsSettings(**setting_reader.read(table, settings_of(MetricsSettings)))
    table.done()
    return settings
