-- An order is one row. Its number n is in its URLs, with the random tag, and in its certificate's serial number: what
-- was made at about the same time lies on the same pages. doc is JSON: names, authorizations with their challenges,
-- each proof once, the error (acme_iid/store/documents.py). version grows with each change and stands in its condition.
-- ahead is 1 for an authorization that newAuthz made for a name; taken_at is when an order took it. instance_id is the
-- instance that proved names, in that generation of its row. key is the thumbprint that the account had when it asked.
-- "replaces" is the RFC 9773 identifier of the certificate that an order's is to replace.
CREATE TABLE orders (
    n ASCENDING KEY,
    tag TEXT NOT NULL,
    account_id TEXT NOT NULL,
    ahead BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    issued_at BIGINT,
    taken_at BIGINT,
    instance_id TEXT,
    generation BIGINT,
    key TEXT NOT NULL,
    name TEXT,
    replaces TEXT,
    doc TEXT NOT NULL
);

CREATE INDEX orders_by_account ON orders (account_id, n) WHERE ahead = 0;

CREATE INDEX orders_open ON orders (account_id, expires_at) WHERE issued_at IS NULL AND ended_at IS NULL;

-- What may wait for an order is bounded (acme_iid/authority/limits.py).
CREATE INDEX orders_waiting ON orders (account_id, name, expires_at)
    WHERE ahead = 1 AND taken_at IS NULL AND ended_at IS NULL;

-- What came to nothing is found by its end, and so is what is still open (acme_iid/store/pruning.py).
CREATE INDEX orders_without_certificate ON orders (expires_at) WHERE issued_at IS NULL;

-- A certificate is replaced once (RFC 9773 section 5).
CREATE UNIQUE INDEX orders_replaces_key ON orders (replaces) WHERE replaces IS NOT NULL AND ended_at IS NULL;

-- Attempts at challenges that take a look at the network: of the challenge k of the authorization i of the order n. An
-- attempt belongs to the process that holds its lease until leased_until; when it runs out, or at due_at after a failed
-- attempt, any process may take the next one. requester is what the address counts as (of IPv6, its /64), account_id and
-- target are whose and what for: by these, attempts take turns. The row goes when the challenge is decided.
CREATE TABLE attempts (
    n BIGINT NOT NULL,
    i BIGINT NOT NULL,
    k BIGINT NOT NULL,
    account_id TEXT NOT NULL,
    target TEXT NOT NULL,
    remote TEXT NOT NULL,
    requester TEXT NOT NULL,
    answered_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT,
    leased_until BIGINT,
    error TEXT,
    PRIMARY KEY (n, i, k)
);

CREATE INDEX attempts_first ON attempts (requester, target, due_at, n, i, k, account_id)
    WHERE due_at IS NOT NULL AND attempts = 0;

CREATE INDEX attempts_repeated ON attempts (requester, target, due_at, n, i, k, account_id)
    WHERE due_at IS NOT NULL AND attempts > 0;

CREATE INDEX attempts_under_way ON attempts (leased_until, requester, account_id, target)
    WHERE leased_until IS NOT NULL;
