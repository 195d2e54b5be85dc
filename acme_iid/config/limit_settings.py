"""The table ``[limits]`` of ca.toml: how much may be asked for. What it does not name has its default."""

from __future__ import annotations

from dataclasses import dataclass

from acme_iid.config.parsers import rate
from acme_iid.config.table import Table
from acme_iid.store.limits import Rate

OFF = "off"
"""The value that takes a limit away."""

_EACH_HOUR, _MANY_EACH_HOUR, _EACH_DAY = Rate(100, 3600), Rate(300, 3600), Rate(100, 86400)


@dataclass(frozen=True, slots=True)
class Limits:
    """The table ``[limits]``; None for a limit that is off.

    :ivar accounts_per_address: how many accounts that have proven nothing yet an address may make.
    :ivar open_orders_per_account: how many orders an account may have that can still lead to a certificate.
    :ivar certificates_per_name: off unless it is set, since all VMs of a fleet may share one name.
    """

    accounts_per_address: Rate | None = _EACH_HOUR
    orders_per_account: Rate | None = _MANY_EACH_HOUR
    open_orders_per_account: int | None = 100
    certificates_per_instance: Rate | None = _EACH_DAY
    certificates_per_name: Rate | None = None


def read(table: Table) -> Limits:
    """Read the table.

    :raises ConfigError: if it says what cannot be meant.
    """
    defaults = Limits()

    def is_off(key: str) -> bool:
        return table.look(key) == OFF and table.take(key, str, "") is not None

    def limit(key: str) -> Rate | None:
        if is_off(key):
            return None
        usual: Rate | None = getattr(defaults, key)
        text = table.take(key, str, f'a rate such as "300/1h", or "{OFF}"')
        return usual if text is None else table.parsed(key, text, rate)

    def number(key: str) -> int | None:
        if is_off(key):
            return None
        most = table.take(key, int, f'a number of orders, such as 100, or "{OFF}"')
        if most is not None and most < 1:
            raise table.error(key, f'is below 1, so nobody could order anything; "{OFF}" is for no limit')
        return defaults.open_orders_per_account if most is None else most

    settings = Limits(
        accounts_per_address=limit("accounts_per_address"),
        orders_per_account=limit("orders_per_account"),
        open_orders_per_account=number("open_orders_per_account"),
        certificates_per_instance=limit("certificates_per_instance"),
        certificates_per_name=limit("certificates_per_name"),
    )
    table.done()
    return settings
