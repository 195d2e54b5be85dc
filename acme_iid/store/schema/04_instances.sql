-- An instance has a row when it was used or blocked. first_used_at is null if nobody holds it by first use: it was
-- blocked only, or trust on first use is off. Whatever takes from an instance what it has proven (a block, a release, a
-- revocation that closes a name) raises its generation, at raised_at and for the reason raised_for; each proof has the
-- generation that it was given under. resource_id is what a managed identity token called an Azure VM at its first use:
-- the token has no vmId, and the attested document no resource, so the pair is believed once and held afterwards.
-- last_revocation_at is when a certificate of it was last revoked for another reason than that it was superseded: what
-- it proved until then serves no later order.
CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    cloud TEXT NOT NULL,
    owner TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    account_id TEXT,
    thumbprint TEXT,
    started_at BIGINT,
    first_used_at BIGINT,
    last_used_at BIGINT,
    release_to TEXT,
    release_until BIGINT,
    resource_id TEXT UNIQUE,
    generation BIGINT NOT NULL DEFAULT 0,
    raised_at BIGINT,
    raised_for TEXT,
    blocked_at BIGINT,
    blocked_for TEXT,
    last_revocation_at BIGINT
);

CREATE INDEX instances_by_instance_id ON instances (instance_id);

-- Lists of instances go by first use, which never changes, so that using one moves it nowhere.
CREATE INDEX instances_by_first_use ON instances (first_used_at, id) WHERE first_used_at IS NOT NULL;

CREATE INDEX instances_of_account ON instances (account_id, first_used_at, id) WHERE first_used_at IS NOT NULL;

CREATE INDEX instances_of_cloud ON instances (cloud, first_used_at, id) WHERE first_used_at IS NOT NULL;

CREATE INDEX instances_of_owner ON instances (owner, first_used_at, id) WHERE first_used_at IS NOT NULL;

CREATE INDEX instances_blocked ON instances (blocked_at, id) WHERE blocked_at IS NOT NULL;
