-- Rows hold what happened and when; statuses are derived (acme_iid/protocol/status.py).
-- Identifiers are made by us, times are seconds, lists are JSON: what every SQL engine shares. ASCENDING KEY is a number
-- that the engine gives, in the order of time; OCTETS are its binary strings (acme_iid/store/schema/__init__.py).

-- made_from is the address that an account was made from, of IPv6 its network (/64); proven_at is when it first proved a
-- name, or was made with an external key. Until then it counts towards the limit of its address. earlier_keys are the
-- thumbprints of the keys before the present one, the latest first, as JSON; key_since is when it got the present one.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    jwk TEXT NOT NULL,
    thumbprint TEXT NOT NULL UNIQUE,
    contact TEXT NOT NULL,
    terms_agreed TEXT,
    external_key_id TEXT,
    external_account_binding TEXT,
    enrolment_id TEXT,
    made_from TEXT,
    earlier_keys TEXT NOT NULL DEFAULT '[]',
    key_since BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    proven_at BIGINT,
    deactivated_at BIGINT
);

CREATE INDEX accounts_unproven ON accounts (made_from, created_at) WHERE proven_at IS NULL;

CREATE INDEX accounts_by_enrolment ON accounts (enrolment_id) WHERE enrolment_id IS NOT NULL;

CREATE INDEX accounts_by_creation ON accounts (created_at, id);

-- External account keys. account_id is the account that was last made with one; enrolment_id is what makes that account
-- a delegate (09_enrolments.sql).
CREATE TABLE external_keys (
    id TEXT PRIMARY KEY,
    secret TEXT NOT NULL,
    label TEXT,
    reusable BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    used_at BIGINT,
    account_id TEXT,
    revoked_at BIGINT,
    enrolment_id TEXT
);

CREATE INDEX external_keys_by_enrolment ON external_keys (enrolment_id) WHERE enrolment_id IS NOT NULL;

CREATE INDEX external_keys_by_creation ON external_keys (created_at, id);

CREATE INDEX external_keys_by_end ON external_keys (expires_at) WHERE expires_at IS NOT NULL;
