-- What several machines share in PostgreSQL (acme_iid/store/postgresql.py); a file of SQLite's needs none of it.
-- Events that are stored and not chained yet: entry is a JSON list of their columns but for number and hash.
CREATE TABLE event_inbox (
    id ASCENDING KEY,
    at BIGINT NOT NULL,
    entry TEXT NOT NULL
);

-- Whoever chains events holds the one row of this table.
CREATE TABLE sealing (
    id BIGINT PRIMARY KEY
);

INSERT INTO sealing (id) VALUES (1);

CREATE TABLE spent_nonces (
    nonce TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE INDEX spent_nonces_by_expiry ON spent_nonces (expires_at);

-- How far a store has come that is being copied into this database (acme_iid/store/copying.py); empty otherwise.
CREATE TABLE copied (
    table_name TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    last_key TEXT NOT NULL
);

-- Each process of a server writes its own row every ten seconds, and takes it away when it stops. clock is what its own
-- clock said then, and seen_at what the database's did.
CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    schema TEXT NOT NULL,
    config_hash TEXT NOT NULL,
    issuers TEXT NOT NULL,
    clock BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
