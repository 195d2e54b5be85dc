-- One row for each subject of a limit: until when what was done counts, in milliseconds (acme_iid/store/limits.py).
CREATE TABLE limits (
    key TEXT PRIMARY KEY,
    until BIGINT NOT NULL
) BY KEY;

CREATE INDEX limits_by_end ON limits (until);
