"""Talking to a CA: known CAs, accounts, orders, revocation (RFC 8555)."""
