-- A write of this key there whose outcome nobody knows may land until then (rotation.md, R19): set with its intent, taken
-- back when its outcome is known.
ALTER TABLE holdings ADD COLUMN landing_set_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE holdings ADD COLUMN landing_until BIGINT NOT NULL DEFAULT 0;

-- A key that was found gone at its provider, and not by our doing: its secrets are kept until `wipe_at`, for a provider that
-- forgot it for a while. A key that is seen again before that is alive again.
ALTER TABLE keys ADD COLUMN gone_at BIGINT;
ALTER TABLE keys ADD COLUMN wipe_at BIGINT;
CREATE INDEX keys_to_wipe ON keys (wipe_at) WHERE wipe_at IS NOT NULL;
