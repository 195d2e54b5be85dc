-- A crash of the server, and a standby that takes over, empty such tables: whatever was forgotten, its epoch is over.
ALTER TABLE spent_nonces SET UNLOGGED;
ALTER TABLE nonce_epochs SET UNLOGGED;
