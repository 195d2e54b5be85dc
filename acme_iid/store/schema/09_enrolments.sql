-- What the account of an instance has handed on: its delegates, which are the accounts made with an enrolment's external
-- keys, may order certificates for the names, by the proof that the account gave at proven_at, in that
-- generation of the instance.
CREATE TABLE enrolments (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    generation BIGINT NOT NULL,
    names TEXT NOT NULL,
    names_digest TEXT NOT NULL,
    identity TEXT NOT NULL,
    cloud TEXT NOT NULL,
    provisioner TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    proven_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    reason TEXT
);

-- One enrolment for the same names of an instance, until it is ended: enrolling again extends it. The names themselves
-- may be longer than what an index of PostgreSQL's takes (2,704 octets); names_digest is their SHA-256.
CREATE UNIQUE INDEX enrolments_in_force ON enrolments (account_id, instance_id, names_digest) WHERE ended_at IS NULL;

CREATE INDEX enrolments_of_instance ON enrolments (instance_id);

CREATE INDEX enrolments_by_end ON enrolments (ended_at) WHERE ended_at IS NOT NULL;
