-- A write of this key there whose outcome nobody knows may land until then (rotation.md, R19): set with its intent, taken
-- back when its outcome is known.
ALTER TABLE holdings ADD COLUMN landing_set_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE holdings ADD COLUMN landing_until BIGINT NOT NULL DEFAULT 0;
