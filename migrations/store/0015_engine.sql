-- A write of this key there whose outcome nobody knows may land until then (rotation.md, R19): set with its intent, taken
-- back when its outcome is known.
ALTER TABLE holdings ADD COLUMN landing_set_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE holdings ADD COLUMN landing_until BIGINT NOT NULL DEFAULT 0;
-- An older version noted only that it wrote: a call of its lasts no longer than a command may, ten minutes.
UPDATE holdings SET landing_set_at = updated_at, landing_until = updated_at + 600000 WHERE level = 'intended';

-- A key that was found gone at its provider, and not by our doing: its secrets are kept until `wipe_at`, for a provider that
-- forgot it for a while. A key that is seen again before that is alive again.
ALTER TABLE keys ADD COLUMN gone_at BIGINT;
ALTER TABLE keys ADD COLUMN wipe_at BIGINT;
CREATE INDEX keys_to_wipe ON keys (wipe_at) WHERE wipe_at IS NOT NULL;

-- Copies of a provisioning key are writes of their address like any other (R20): by its account, under its hash.
INSERT INTO addresses (address, writes, drift, updated_at)
SELECT c.address, 0, NULL, c.updated_at FROM provisioning_copies c
WHERE NOT EXISTS (SELECT 1 FROM addresses a WHERE a.address = c.address);
UPDATE addresses SET writes = writes + 1 WHERE address IN (SELECT c.address FROM provisioning_copies c);
INSERT INTO holdings (address, key_id, fingerprint, destination, writer, seq, level, evidence, checked, error,
    permanent, attempts, not_before, wait_set_at, released, updated_at)
SELECT c.address, 'provisioning:' || c.hash, NULL, c.destination, 'account:' || c.account, a.writes, c.level, c.evidence,
    NULL, c.error, 0, c.attempts, c.not_before, c.wait_set_at, 0, c.updated_at
FROM provisioning_copies c JOIN addresses a ON a.address = c.address;
DROP TABLE provisioning_copies;
