-- Events are a chain of hashes (acme_iid/store/chain.py). What an instance or a name had to do with one stands in
-- columns, for filters.
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

-- Which instances got a certificate for a name, however many each got (acme_iid/store/instances.py).
CREATE INDEX event_names_by_holder ON event_names (name, instance_id) WHERE certificate_id IS NOT NULL;

-- What each account was refused lately (acme_iid/store/refusals.py): when it became an event, and how often it was
-- refused since. "what" is a digest; empty for all that was too varied to become an event each.
CREATE TABLE refusals (
    account_id TEXT NOT NULL,
    what TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    further BIGINT NOT NULL,
    PRIMARY KEY (account_id, what)
);

CREATE INDEX refusals_by_time ON refusals (recorded_at);
