-- The names that an instance may hold, as they were when it proved a challenge: what a client that names none asks for.
ALTER TABLE challenges ADD COLUMN names TEXT;
