"""A key that an account had lately is checked first, and counts for nothing if the account has another one by now."""

from __future__ import annotations

from contextlib import closing

from running import CA
from wire import Account, Key, problem
from writing import put

from acme_iid.protocol import jwk
from acme_iid.store import accounts
from acme_iid.store.database import open_store


def test_a_key_that_was_changed_elsewhere_signs_no_more(own_ca: CA) -> None:
    own_ca.start()
    account = own_ca.account()
    assert account.post(account.url).status_code == 200
    new = Key()
    # As another server of the CA's does it: this one knows the former key.
    with closing(open_store(own_ca.store_url)) as store:
        known = accounts.get(store, account.url.rpartition("/")[2])
        assert known is not None
        text = jwk.canonical(new.jwk)
        put(store, accounts.set_key(known, text, jwk.thumbprint(jwk.load(text)), known.created_at))
    assert problem(account.post(account.url)) == "malformed"
    assert problem(account.order("foo.local")) == "malformed"
    renewed = Account(account.wire, new, account.url)
    assert renewed.post(account.url).status_code == 200
    assert renewed.order("foo.local").status_code == 201
    assert problem(account.post(account.url)) == "malformed"
