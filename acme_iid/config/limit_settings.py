"""The table ``[limits]`` of ca.toml: how much may be asked for. What it does not name has its default."""

from __future__ import annotations

from dataclasses import dataclass, field

from acme_iid.config import setting_reader
from acme_iid.config.parsers import rate
from acme_iid.config.table import Table
from acme_iid.policy.setting import OFF, Setting, described, settings_of
from acme_iid.store.limits import Rate

_EACH_HOUR, _MANY_EACH_HOUR, _EACH_DAY = Rate(100, 3600), Rate(300, 3600), Rate(100, 86400)


def _rate(meaning: str, absent: str = "") -> dict[str, Setting]:
    return described(f'a rate such as "300/1h", or "{OFF}"', meaning, rate, "rate", absent)


def _orders(number: int) -> int:
    if number < 1:
        raise ValueError(f'is below 1, so nobody could order anything; "{OFF}" is for no limit')
    return number


@dataclass(frozen=True, slots=True)
class Limits:
    """The table ``[limits]``; None for a limit that is off."""

    accounts_per_address: Rate | None = field(
        default=_EACH_HOUR, metadata=_rate("Accounts that an address may make and that have proven nothing yet.")
    )
    orders_per_account: Rate | None = field(default=_MANY_EACH_HOUR, metadata=_rate("Orders that an account may make."))
    open_orders_per_account: int | None = field(
        default=100,
        metadata=described(
            f'a number of orders, such as 100, or "{OFF}"',
            "Orders that an account may have and that can still lead to a certificate, at least 1.",
            _orders,
            "count",
        ),
    )
    certificates_per_instance: Rate | None = field(
        default=_EACH_DAY, metadata=_rate("Certificates that an instance may get.")
    )
    certificates_per_name: Rate | None = field(
        default=None, metadata=_rate("Certificates that a name may be in; all VMs of a fleet may share one.", OFF)
    )


def read(table: Table) -> Limits:
    """Read the table.

    :raises ConfigError: if it is invalid.
    """
    limits = Limits(**setting_reader.read(table, settings_of(Limits)))
    table.done()
    return limits
