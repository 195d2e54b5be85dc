"""The URLs of resources, as clients see them: [server] url and a path, also behind a proxy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Links:
    """Makes URLs; ``base`` is [server] url without a trailing slash, ``former`` what it was before."""

    base: str
    former: tuple[str, ...] = ()

    def path_of(self, url: str) -> str:
        """The path of ours that a URL is for, under the address of now or a former one; "" if it is under none."""
        bases = [base for base in (self.base, *self.former) if url.startswith(base + "/")]
        # One may go on where another ends.
        return url[len(max(bases, key=len)) :] if bases else ""

    def path(self, path: str) -> str:
        """The URL of a path of ours."""
        return self.base + path

    @property
    def directory(self) -> str:
        """The ACME directory (RFC 8555 section 7.1.1)."""
        return self.base + "/acme/directory"

    def account(self, account_id: str) -> str:
        """An account, and the ``kid`` of its requests."""
        return f"{self.base}/acme/account/{account_id}"

    @property
    def account_hashes(self) -> str:
        """The beginning of accounts' hashes (draft-ietf-acme-dns-persist-02 section 4.1); nothing is there."""
        return f"{self.base}/acme/account-hash/"

    def account_orders(self, account_id: str) -> str:
        """An account's list of orders."""
        return f"{self.base}/acme/account/{account_id}/orders"

    def order(self, order_id: str) -> str:
        """An order."""
        return f"{self.base}/acme/order/{order_id}"

    def finalize(self, order_id: str) -> str:
        """Where an order is finalized."""
        return f"{self.base}/acme/order/{order_id}/finalize"

    def authorization(self, authorization_id: str) -> str:
        """An authorization."""
        return f"{self.base}/acme/authorization/{authorization_id}"

    def challenge(self, challenge_id: str) -> str:
        """A challenge."""
        return f"{self.base}/acme/challenge/{challenge_id}"

    def certificate(self, certificate_id: str) -> str:
        """An issued certificate."""
        return f"{self.base}/acme/certificate/{certificate_id}"

    def chain(self, certificate_id: str, number: str) -> str:
        """An issued certificate with one of its chains; "0" is the one that it was issued with."""
        return self.certificate(certificate_id) + ("" if number == "0" else f"/{number}")
