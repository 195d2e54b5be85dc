-- The roots that clients trust, or trusted. id is the SHA-256 of the certificate in hex; link is the certificate by which
-- clients of an earlier root take this one up, and is not there for a root that they know by its fingerprint alone. Of those
-- that were not dropped, the one that was used last is the one in use.
CREATE TABLE roots (
    id TEXT PRIMARY KEY,
    certificate OCTETS NOT NULL,
    link OCTETS,
    added_at BIGINT NOT NULL,
    used_at BIGINT,
    dropped_at BIGINT
);
