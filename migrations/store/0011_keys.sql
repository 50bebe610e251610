-- What people say of a key: whose it is, what for, until when it is good. `replaced_at`: when its secret was changed
-- last, `handed_out_at`: when somebody was given it.
ALTER TABLE keys ADD COLUMN owner TEXT;
ALTER TABLE keys ADD COLUMN note TEXT;
ALTER TABLE keys ADD COLUMN expires_at BIGINT;
ALTER TABLE keys ADD COLUMN replaced_at BIGINT;
ALTER TABLE keys ADD COLUMN handed_out_at BIGINT;
-- Lists are read in this order, a page at a time.
CREATE INDEX keys_in_order ON keys (provider, COALESCE(number, 1000000000), created_at, id) WHERE role <> 'dead';
CREATE INDEX keys_by_owner ON keys (owner) WHERE owner IS NOT NULL;
CREATE INDEX keys_by_verdict ON keys (verdict) WHERE role <> 'dead';
CREATE INDEX keys_counted ON keys (provider, verdict, is_active, priority, number) WHERE role <> 'dead';
CREATE INDEX keys_by_expiry ON keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX keys_by_age ON keys (COALESCE(replaced_at, created_at)) WHERE role <> 'dead';
-- A name for people of a provider that was added under a name of its own.
ALTER TABLE providers ADD COLUMN title TEXT;
-- The row of a provider that was removed stays for its numbers, which are never given to another key.
ALTER TABLE providers ADD COLUMN removed_at BIGINT;
-- Keys that were given out: one row a key, user of it and minute, and its row in the audit.
CREATE TABLE hand_outs (
    key_id   TEXT   NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    actor    TEXT   NOT NULL,
    minute   BIGINT NOT NULL,
    times    BIGINT NOT NULL,
    audit_id TEXT   NOT NULL,
    PRIMARY KEY (key_id, actor, minute)
);
