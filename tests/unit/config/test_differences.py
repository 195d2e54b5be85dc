"""What has changed between two texts of ca.toml."""

from __future__ import annotations

from acme_iid.config.differences import between

BEFORE = b"""
[ca]
name = "Acme"  # password = "in a comment"
domains = ["local"]
[store]
url = "postgresql://u:old-secret@db/acme"
[[provisioner]]
name = "EC2"
accounts = ["123456789012"]
[[sink]]
url = "https://hook.internal/"
secret = ["old-secret", "older-secret"]
"""


def test_a_difference_names_the_value_with_its_tables() -> None:
    """Each key with its table, or the name of its provisioner; what stays is not listed."""
    after = BEFORE.replace(b'["local"]', b'["local", "lan"]').replace(
        b'accounts = ["1', b'disable_crl = true\naccounts = ["2'
    )
    assert between(BEFORE, after) == [
        '- ca.domains = ["local"]',
        '+ ca.domains = ["local", "lan"]',
        '- provisioner["EC2"].accounts = ["123456789012"]',
        '+ provisioner["EC2"].accounts = ["223456789012"]',
        '+ provisioner["EC2"].disable_crl = true',
    ]


def test_a_changed_secret_is_seen_and_not_shown() -> None:
    """That it has changed is news, the old and the new one are nobody's."""
    lines = between(BEFORE, BEFORE.replace(b"old-secret", b"new-secret"))
    assert lines == [
        '- sink[1].secret = "***"',
        '+ sink[1].secret = "***"',
        '- store.url = "postgresql://u:***@db/acme"',
        '+ store.url = "postgresql://u:***@db/acme"',
    ]


def test_comments_and_broken_texts_have_no_values() -> None:
    """Whatever stands there may be a secret."""
    assert between(BEFORE, BEFORE.replace(b"in a comment", b"another")) == []
    assert between(b"password = secret-without-quotes", b'a = "b"') == ['+ a = "b"']


def test_a_long_value_is_cut() -> None:
    """A line has one value, and an end."""
    (line,) = between(b"", b'a = "' + b"x" * 10_000 + b'"')
    assert len(line) < 400
    assert line.endswith("…")
