-- What was warned of because little of its life is left: once for each threshold (percent) and each end. subject is the
-- SHA-256 of a certificate in hex, or says what list it is.
CREATE TABLE expiry_warnings (
    subject TEXT NOT NULL,
    percent BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    PRIMARY KEY (subject, percent)
);
