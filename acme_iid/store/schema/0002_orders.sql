-- "replaces" is the RFC 9773 identifier of the certificate that an order's is to replace.
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    identifiers TEXT NOT NULL,
    not_before BIGINT,
    not_after BIGINT,
    profile TEXT,
    replaces TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    error TEXT,
    certificate_id TEXT
);

CREATE INDEX orders_by_account ON orders (account_id, created_at, id);

CREATE INDEX orders_open ON orders (account_id, expires_at) WHERE certificate_id IS NULL AND ended_at IS NULL;

-- What came to nothing is found by its end, and so is what is still open (acme_iid/store/pruning.py).
CREATE INDEX orders_without_certificate ON orders (expires_at) WHERE certificate_id IS NULL;

CREATE INDEX orders_by_replaced ON orders (replaces) WHERE replaces IS NOT NULL;

-- An authorization serves one order. One that newAuthz made has no order until one takes it.
CREATE TABLE authorizations (
    id TEXT PRIMARY KEY,
    order_id TEXT REFERENCES orders (id),
    account_id TEXT NOT NULL REFERENCES accounts (id),
    position BIGINT NOT NULL,
    identifier_type TEXT NOT NULL,
    identifier_value TEXT NOT NULL,
    wildcard BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    deactivated_at BIGINT,
    revoked_at BIGINT
);

CREATE INDEX authorizations_by_order ON authorizations (order_id);

CREATE INDEX authorizations_by_account ON authorizations (account_id, expires_at);

-- What may wait for an order is bounded (acme_iid/authority/limits.py), what was deactivated is not.
CREATE INDEX authorizations_waiting ON authorizations (account_id, expires_at)
    WHERE order_id IS NULL AND deactivated_at IS NULL AND revoked_at IS NULL;

CREATE INDEX authorizations_waiting_by_name ON authorizations (account_id, identifier_value, expires_at)
    WHERE order_id IS NULL AND deactivated_at IS NULL AND revoked_at IS NULL;

-- answered_at, answered_from: when, and from which address, the client asked for the attempt. Of a challenge that takes
-- a look at the network, an attempt belongs to the process that holds its lease until leased_until; when it runs out, or
-- at due_at after a failed attempt, any process may take the next one. requester is what the address counts as (of IPv6, its /64), account_id and target are
-- whose and what for: by these, attempts take turns.
CREATE TABLE challenges (
    id TEXT PRIMARY KEY,
    authorization_id TEXT NOT NULL REFERENCES authorizations (id),
    type TEXT NOT NULL,
    token TEXT NOT NULL,
    answered_at BIGINT,
    answered_from TEXT,
    requester TEXT,
    account_id TEXT,
    target TEXT,
    attempts BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT,
    leased_until BIGINT,
    validated_at BIGINT,
    failed_at BIGINT,
    error TEXT,
    instance_id TEXT,
    cloud TEXT,
    provisioner TEXT,
    credential_id TEXT,
    names TEXT,
    identity TEXT
);

CREATE INDEX challenges_by_authorization ON challenges (authorization_id);

CREATE INDEX challenges_by_instance ON challenges (instance_id) WHERE instance_id IS NOT NULL;

CREATE INDEX challenges_first ON challenges (requester, target, due_at, id, account_id)
    WHERE due_at IS NOT NULL AND attempts = 0;

CREATE INDEX challenges_repeated ON challenges (requester, target, due_at, id, account_id)
    WHERE due_at IS NOT NULL AND attempts > 0;

CREATE INDEX challenges_under_way ON challenges (leased_until, requester, account_id, target)
    WHERE leased_until IS NOT NULL;
