-- resource_id is what a managed identity token called an Azure VM at its first use: the token has no vmId, and the
-- attested document no resource, so the pair is believed once and held afterwards.
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
    release_until BIGINT,
    resource_id TEXT UNIQUE
);

CREATE INDEX instances_by_instance_id ON instances (instance_id);

-- Lists of instances go by first use, which never changes, so that using one moves it nowhere.
CREATE INDEX instances_by_first_use ON instances (first_used_at, id);

CREATE INDEX instances_of_account ON instances (account_id, first_used_at, id);

CREATE INDEX instances_of_cloud ON instances (cloud, first_used_at, id);

CREATE INDEX instances_of_owner ON instances (owner, first_used_at, id);

-- An instance that an operator shut out, whether it was ever used here or not.
CREATE TABLE blocked_instances (
    instance_id TEXT NOT NULL PRIMARY KEY,
    cloud TEXT NOT NULL,
    owner TEXT NOT NULL,
    blocked_at BIGINT NOT NULL,
    reason TEXT
);

CREATE INDEX blocked_instances_by_time ON blocked_instances (blocked_at, instance_id);
