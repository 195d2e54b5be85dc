-- The latest revocation list of each root, as somebody with the root's key has signed it. root_id is the SHA-256 of the
-- root's certificate in hex.
CREATE TABLE root_lists (
    root_id TEXT PRIMARY KEY,
    number BIGINT NOT NULL,
    this_update BIGINT NOT NULL,
    next_update BIGINT NOT NULL,
    imported_at BIGINT NOT NULL,
    der OCTETS NOT NULL
);
