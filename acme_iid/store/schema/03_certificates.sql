-- A certificate has the number of its order. der is the leaf; the rest of its chain is its issuer's, of which id is the
-- SHA-256 of the SubjectPublicKeyInfo in hex. Of those that were activated and not retired, the one that was activated
-- last signs what is issued.
CREATE TABLE issuers (
    id TEXT PRIMARY KEY,
    certificate OCTETS NOT NULL,
    chain TEXT NOT NULL,
    noted_at BIGINT NOT NULL,
    activated_at BIGINT,
    retired_at BIGINT,
    compromised_at BIGINT
);

CREATE TABLE certificates (
    n BIGINT PRIMARY KEY,
    account_id TEXT NOT NULL,
    issuer_id TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    instance_id TEXT,
    cloud TEXT,
    owner TEXT,
    image TEXT,
    provisioner TEXT,
    profile TEXT,
    serial TEXT NOT NULL,
    key_id TEXT NOT NULL,
    names TEXT NOT NULL,
    der OCTETS NOT NULL,
    renew_from BIGINT,
    renew_until BIGINT,
    revoked_at BIGINT,
    revocation_reason BIGINT,
    revoked_by TEXT
);

CREATE INDEX certificates_by_end ON certificates (not_after, n);

-- not_after and revoked_at stand in the index of the list, so that a page of those that are valid, or expired, passes
-- over the others without a look at their rows. Lists by anything else are in lookups (05_events.sql).
CREATE INDEX certificates_by_issue ON certificates (issued_at, n, not_after, revoked_at);

CREATE INDEX certificates_revoked_by_issue ON certificates (issued_at, n) WHERE revoked_at IS NOT NULL;

-- What stands in a revocation list: revoked, and not expired before it. Only a revocation writes to this.
CREATE INDEX certificates_revoked ON certificates (issuer_id, not_after) WHERE revoked_at IS NOT NULL;

-- A name that was revoked for an instance stays closed to it until an operator reopens it.
CREATE TABLE closed_names (
    instance_id TEXT NOT NULL,
    name TEXT NOT NULL,
    closed_at BIGINT NOT NULL,
    PRIMARY KEY (instance_id, name)
);

-- Keys that were revoked for keyCompromise, by the SHA-256 of their SubjectPublicKeyInfo in hex. They stay for good: the
-- certificates that had them are pruned, and whoever holds a key may ask for it to be certified at any time.
CREATE TABLE compromised_keys (
    spki_sha256 TEXT PRIMARY KEY,
    compromised_at BIGINT NOT NULL
);
