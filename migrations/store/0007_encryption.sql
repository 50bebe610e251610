-- Which encryption keys are in force (rotation.md R24), by name; the keys themselves are never here. One seals; those
-- that sealed before it open until a proof that nothing of theirs is left.
CREATE TABLE encryption_epochs (
    epoch      BIGINT PRIMARY KEY,
    key_id     TEXT   NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('sealing', 'opening', 'retired')),
    began_at   BIGINT NOT NULL,
    retired_at BIGINT
);
CREATE UNIQUE INDEX encryption_epochs_one_sealing ON encryption_epochs (state) WHERE state = 'sealing';
CREATE UNIQUE INDEX encryption_epochs_key ON encryption_epochs (key_id) WHERE state <> 'retired';

-- Daemons that live, and the names of the encryption keys that each has.
CREATE TABLE processes (
    owner           TEXT PRIMARY KEY,
    encryption_keys TEXT   NOT NULL,
    seen_at         BIGINT NOT NULL
);

-- Where secrets are sent to, sealed: whoever writes to this database cannot name another place.
ALTER TABLE providers ADD COLUMN base_url_seal TEXT;
ALTER TABLE accounts ADD COLUMN place TEXT;
