-- The latest revocation list of each issuing key, as signed: all processes serve the same. since and revoked say what it
-- holds: all of the certificates revoked by then that end after since.
CREATE TABLE revocation_lists (
    key_id TEXT PRIMARY KEY,
    number BIGINT NOT NULL,
    since BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    signed_at BIGINT NOT NULL,
    next_update BIGINT NOT NULL,
    der TEXT NOT NULL
);
