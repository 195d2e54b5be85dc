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

CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    identifiers TEXT NOT NULL,
    not_before BIGINT,
    not_after BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    error TEXT,
    certificate_id TEXT
);

CREATE INDEX orders_by_account ON orders (account_id, created_at, id);

CREATE TABLE authorizations (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders (id),
    account_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    identifier_type TEXT NOT NULL,
    identifier_value TEXT NOT NULL,
    wildcard BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    deactivated_at BIGINT,
    revoked_at BIGINT
);

CREATE INDEX authorizations_by_order ON authorizations (order_id);

CREATE INDEX authorizations_by_account ON authorizations (account_id, expires_at);

CREATE TABLE challenges (
    id TEXT PRIMARY KEY,
    authorization_id TEXT NOT NULL REFERENCES authorizations (id),
    type TEXT NOT NULL,
    token TEXT NOT NULL,
    validated_at BIGINT,
    failed_at BIGINT,
    error TEXT,
    instance_id TEXT,
    cloud TEXT,
    provisioner TEXT,
    credential_id TEXT
);

CREATE INDEX challenges_by_authorization ON challenges (authorization_id);

CREATE INDEX challenges_by_instance ON challenges (instance_id);

CREATE TABLE certificates (
    id TEXT PRIMARY KEY,
    serial TEXT NOT NULL UNIQUE,
    order_id TEXT NOT NULL UNIQUE REFERENCES orders (id),
    account_id TEXT NOT NULL,
    names TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    chain TEXT NOT NULL,
    key_id TEXT NOT NULL,
    provisioner TEXT,
    instance_id TEXT,
    revoked_at BIGINT,
    revocation_reason BIGINT,
    revoked_by TEXT
);

CREATE INDEX certificates_by_instance ON certificates (instance_id);

CREATE INDEX certificates_by_issue ON certificates (issued_at, id);

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    cloud TEXT NOT NULL,
    owner TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    account_id TEXT,
    thumbprint TEXT,
    started_at BIGINT,
    first_used_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    release_to TEXT,
    release_until BIGINT
);

CREATE INDEX instances_by_instance_id ON instances (instance_id);

-- A name that was revoked for an instance stays closed to it until an operator reopens it.
CREATE TABLE closed_names (
    instance_id TEXT NOT NULL,
    name TEXT NOT NULL,
    closed_at BIGINT NOT NULL,
    PRIMARY KEY (instance_id, name)
);

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    account_id TEXT,
    instance_id TEXT,
    detail TEXT NOT NULL
);

CREATE INDEX events_by_instance ON events (instance_id, id);

-- Secrets that all processes and replicas share: the key under which nonces are made.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
