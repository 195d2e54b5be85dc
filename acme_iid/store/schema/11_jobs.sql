-- What one process at a time does now and then. Nobody else begins with a job before due_at, which whoever does it moves
-- on before and meanwhile: it is the time of the next turn and a lease in one.
CREATE TABLE jobs (
    name TEXT PRIMARY KEY,
    due_at BIGINT NOT NULL
);
