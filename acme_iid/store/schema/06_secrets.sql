-- Secrets that all processes and replicas share: the key under which nonces are made.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
