-- Events are a chain of hashes (acme_iid/store/chain.py).
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

-- By what operators look for events and certificates (acme_iid/store/lookups.py): written after the events, not with
-- them, as far as the event in followed. The fields of a certificate's issue begin with "issued", and n is its number.
CREATE TABLE lookups (
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    at BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    n BIGINT,
    PRIMARY KEY (field, value, at, seq)
) BY KEY;

CREATE TABLE followed (
    id BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL
);

-- Which instances got a certificate for a name, however many each got (acme_iid/store/instances.py).
CREATE TABLE holders (
    name TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    PRIMARY KEY (name, instance_id)
) BY KEY;

-- What each account was refused lately (acme_iid/store/refusals.py): when it became an event, and how often it was
-- refused since. "what" is a digest; empty for all that was too varied to become an event each.
CREATE TABLE refusals (
    account_id TEXT NOT NULL,
    what TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    further BIGINT NOT NULL,
    PRIMARY KEY (account_id, what)
) BY KEY;

CREATE INDEX refusals_by_time ON refusals (recorded_at);
