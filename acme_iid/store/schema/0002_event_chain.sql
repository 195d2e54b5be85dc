-- Events become a chain: acme_iid/store/schema/steps.py copies those of 0001 into it, in their order.
ALTER TABLE events RENAME TO unchained_events;

-- What an instance or a name had to do with an event stands in columns, for filters; "at" is seconds.
CREATE TABLE events (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    account_id TEXT,
    instance_id TEXT,
    cloud TEXT,
    owner TEXT,
    name TEXT,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
);

CREATE INDEX events_by_time ON events (at, seq);

CREATE INDEX events_of_account ON events (account_id, at, seq);

CREATE INDEX events_of_instance ON events (instance_id, at, seq);

CREATE INDEX events_of_cloud ON events (cloud, at, seq);

CREATE INDEX events_of_owner ON events (owner, at, seq);

CREATE INDEX events_of_name ON events (name, at, seq);

-- The names of a certificate's events, of which there may be many. The row of its issue has its id.
CREATE TABLE event_names (
    name TEXT NOT NULL,
    at BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    certificate_id TEXT,
    instance_id TEXT,
    PRIMARY KEY (name, at, seq)
);

ALTER TABLE certificates ADD COLUMN cloud TEXT;

ALTER TABLE certificates ADD COLUMN owner TEXT;

-- All that 0001 knew were instances of AWS: aws:PARTITION:ACCOUNT:REGION:ID.
UPDATE certificates SET cloud = 'aws', owner = CASE
    WHEN instance_id LIKE 'aws:aws:%' THEN substr(instance_id, 9, 12)
    WHEN instance_id LIKE 'aws:aws-cn:%' THEN substr(instance_id, 12, 12)
    WHEN instance_id LIKE 'aws:aws-us-gov:%' THEN substr(instance_id, 16, 12)
END
WHERE instance_id IS NOT NULL;

CREATE INDEX certificates_of_account ON certificates (account_id, issued_at, id);

CREATE INDEX certificates_of_cloud ON certificates (cloud, issued_at, id);

CREATE INDEX certificates_of_owner ON certificates (owner, issued_at, id);

CREATE INDEX certificates_revoked ON certificates (issued_at, id) WHERE revoked_at IS NOT NULL;

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

CREATE INDEX accounts_by_creation ON accounts (created_at, id);
