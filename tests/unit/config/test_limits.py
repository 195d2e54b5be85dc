"""The table [limits]: defaults where it says nothing, and an off switch for each."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from pages import blocks
from running import UNLIMITED

from acme_iid.config import ca_toml
from acme_iid.config.limit_settings import Limits
from acme_iid.config.table import ConfigError
from acme_iid.store.limits import Rate

MINIMAL = """
[ca]
name = "My CA"
domains = ["local"]
[server]
url = "https://ca.local"
[limits]
"""


def limits(text: str) -> Limits:
    return ca_toml.parse((MINIMAL + text).encode(), Path("/nowhere")).limits


def test_the_defaults_are_those_of_the_page() -> None:
    (block,) = blocks("toml", "docs/how-to/accounts-and-limits.md")
    assert limits(block.text.removeprefix("[limits]\n")) == limits("") == Limits()
    assert [name for name, limit in asdict(Limits()).items() if limit is None] == ["certificates_per_name"]


def test_each_limit_can_be_turned_off_and_set() -> None:
    assert set(asdict(limits(UNLIMITED)).values()) == {None}
    assert limits('certificates_per_instance = "off"') == Limits(certificates_per_instance=None)
    assert limits('certificates_per_name = "100/1d"') == Limits(certificates_per_name=Rate(100, 86400))
    assert limits("open_orders_per_account = 7\n") == Limits(open_orders_per_account=7)
    assert limits('accounts_per_address = "5/1m"') == Limits(accounts_per_address=Rate(5, 60))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('orders_per_account = "none"', "[limits] orders_per_account: 'none' is no rate"),
        ("orders_per_account = false", "[limits] orders_per_account: False is not a rate such as"),
        ("open_orders_per_account = 0", "[limits] open_orders_per_account: is below 1"),
        ('open_orders_per_account = "of"', "'of' is not a number of orders, such as 100, or \"off\""),
        ('order_per_account = "off"', "unknown key 'order_per_account' in [limits]"),
    ],
)
def test_what_is_no_limit_is_an_error_that_says_what_would_be(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        limits(text)
    assert message in str(caught.value)
