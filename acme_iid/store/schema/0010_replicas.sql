-- What several machines share in PostgreSQL (acme_iid/store/postgresql.py); a file of SQLite's needs neither.
-- Writers queue for the one row of this table, so that a transaction that writes is alone with what it read.
CREATE TABLE writer (
    id BIGINT PRIMARY KEY
);

INSERT INTO writer (id) VALUES (1);

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
