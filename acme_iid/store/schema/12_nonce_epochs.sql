-- Nonces that replicas made are good while the one row here has their epoch (acme_iid/store/postgresql.py).
CREATE TABLE nonce_epochs (
    id BIGINT PRIMARY KEY,
    epoch TEXT NOT NULL
);
