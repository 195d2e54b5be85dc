-- The fleet in numbers, as it was once an hour (acme_iid/store/fleet_samples.py). owners and hours are JSON: certificates in
-- force by who has them, and by when they end.
CREATE TABLE fleet_samples (
    at BIGINT PRIMARY KEY,
    owners TEXT NOT NULL,
    hours TEXT NOT NULL
);

-- Refusals in each hour, which begins at "hour", by step and rule (acme_iid/store/refusal_counts.py): written after the
-- events, as far as the event in refusals_counted.
CREATE TABLE refusal_counts (
    hour BIGINT NOT NULL,
    step TEXT NOT NULL,
    rule TEXT NOT NULL,
    refusals BIGINT NOT NULL,
    PRIMARY KEY (hour, step, rule)
) BY KEY;

CREATE TABLE refusals_counted (
    id BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL
);
