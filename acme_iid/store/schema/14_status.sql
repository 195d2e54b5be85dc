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

-- Certificates of the CA's issuers that it has no row of, since the store was restored from a backup of before, and that
-- an operator revoked by their files. They stay for good: each was given by hand.
CREATE TABLE unrecorded_revocations (
    issuer_id TEXT NOT NULL,
    serial TEXT NOT NULL,
    not_after BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    der OCTETS NOT NULL,
    revoked_at BIGINT NOT NULL,
    revocation_reason BIGINT NOT NULL,
    PRIMARY KEY (issuer_id, serial)
);

CREATE INDEX unrecorded_revocations_by_end ON unrecorded_revocations (issuer_id, not_after);
