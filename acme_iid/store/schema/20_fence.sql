-- The number of the least schema file that a program has to know to write here (acme_iid/store/fence.py). A file that takes
-- away what an earlier release needs raises it, to the last file of the release before.
CREATE TABLE fence (
    min_writer BIGINT NOT NULL
);

INSERT INTO fence (min_writer) VALUES (20);
