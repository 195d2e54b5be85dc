-- The ca.toml that was recorded last, by whichever server or command saw it: its SHA-256 in hex, and its values, a line
-- each and without secrets, of which the next difference is made.
CREATE TABLE recorded_configuration (
    id BIGINT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    content TEXT NOT NULL
);

-- Each server that was started lately, by a random id that its processes share: so one of them records that it was
-- started, and one of them that it was reloaded. config_hash is that of the ca.toml that it took up last, noted_at when.
CREATE TABLE server_runs (
    id TEXT PRIMARY KEY,
    config_hash TEXT NOT NULL,
    noted_at BIGINT NOT NULL
);

-- Where events are sent to (acme_iid/store/sinks.py): the last one that each has taken, and the moment until which one
-- process alone sends to it. Whoever sends moves both on by compare-and-set.
CREATE TABLE sinks (
    name TEXT PRIMARY KEY,
    last_seq BIGINT NOT NULL,
    lease BIGINT NOT NULL
);

-- Signed places of the chain (acme_iid/store/checkpoints.py): the events up to seq may be gone. statement is the text
-- that the issuer's key has signed.
CREATE TABLE event_checkpoints (
    seq BIGINT PRIMARY KEY,
    hash TEXT NOT NULL,
    issuer_id TEXT NOT NULL,
    statement TEXT NOT NULL,
    signature OCTETS NOT NULL
);

-- How far events were removed, at most up to the latest of these places: the place that the first event left follows.
CREATE TABLE events_removed (
    id BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);

-- Operators' acts that were kept in a home until the store was there (acme_iid/operations/waiting_acts.py), by the ids
-- that they had there: a copy of the home does not record them again.
CREATE TABLE acts_recorded (
    id TEXT PRIMARY KEY
);
