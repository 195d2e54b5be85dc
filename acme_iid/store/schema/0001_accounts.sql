-- Rows hold what happened and when; statuses are derived (acme_iid/protocol/status.py).
-- Identifiers are made by us, times are seconds, lists are JSON: what every SQL engine shares.

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    jwk TEXT NOT NULL,
    thumbprint TEXT NOT NULL UNIQUE,
    contact TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    deactivated_at BIGINT
);

CREATE INDEX accounts_by_creation ON accounts (created_at, id);
