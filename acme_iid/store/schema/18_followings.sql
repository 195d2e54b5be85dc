-- How far events are followed (acme_iid/store/lookups.py), for each version of what is written of them. Those up to
-- "until" were followed by an earlier version; this one follows them again, and has come to "again". The table followed
-- is that of servers of before.
CREATE TABLE followings (
    version BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL,
    again BIGINT NOT NULL,
    until BIGINT NOT NULL
);

INSERT INTO followings (version, seq, again, until) SELECT 1, seq, seq, seq FROM followed;

-- By what else an instance is found: the cloud's own word for it ("word"), and the image, region and provisioner of what it
-- has proven.
CREATE TABLE traits (
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    PRIMARY KEY (field, value, instance_id)
) BY KEY;
