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
    profile TEXT,
    image TEXT,
    renew_from BIGINT,
    renew_until BIGINT,
    provisioner TEXT,
    instance_id TEXT,
    cloud TEXT,
    owner TEXT,
    revoked_at BIGINT,
    revocation_reason BIGINT,
    revoked_by TEXT
);

CREATE INDEX certificates_by_instance ON certificates (instance_id);

-- not_after and revoked_at stand in the indexes of lists, so that a page of those that are valid, or expired, passes over
-- the others without a look at their rows.
CREATE INDEX certificates_by_issue ON certificates (issued_at, id, not_after, revoked_at);

CREATE INDEX certificates_by_end ON certificates (not_after, id);

CREATE INDEX certificates_of_account ON certificates (account_id, issued_at, id, not_after, revoked_at);

CREATE INDEX certificates_of_cloud ON certificates (cloud, issued_at, id, not_after, revoked_at);

CREATE INDEX certificates_of_owner ON certificates (owner, issued_at, id, not_after, revoked_at);

CREATE INDEX certificates_of_image ON certificates (image, issued_at, id, not_after, revoked_at)
    WHERE image IS NOT NULL;

-- Only a revocation writes to these.
CREATE INDEX certificates_revoked ON certificates (issued_at, id) WHERE revoked_at IS NOT NULL;

CREATE INDEX certificates_revoked_of_account ON certificates (account_id, issued_at, id) WHERE revoked_at IS NOT NULL;

CREATE INDEX certificates_revoked_of_cloud ON certificates (cloud, issued_at, id) WHERE revoked_at IS NOT NULL;

CREATE INDEX certificates_revoked_of_owner ON certificates (owner, issued_at, id) WHERE revoked_at IS NOT NULL;

-- What stands in a revocation list: revoked, and not expired before it.
CREATE INDEX certificates_revoked_by_end ON certificates (not_after) WHERE revoked_at IS NOT NULL;

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
