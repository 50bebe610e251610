-- The tester asks for what is due, by index; what is only stored costs it nothing.
--
-- When a key is looked at next, whether that is a second look, and who looks at it now and until when. `looked_at`,
-- `doubted_at` and `turned_bad_at` repeat the key's health for the mass guard (providers.md), which counts by them.
ALTER TABLE keys ADD COLUMN next_look_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN look_again BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN looked_by TEXT;
ALTER TABLE keys ADD COLUMN look_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN looked_at BIGINT;
ALTER TABLE keys ADD COLUMN doubted_at BIGINT;
ALTER TABLE keys ADD COLUMN turned_bad_at BIGINT;

CREATE INDEX keys_due ON keys (provider, role, look_again, next_look_at)
    WHERE is_active = 1 AND secret IS NOT NULL AND role IN ('current', 'manual');
CREATE INDEX keys_looked ON keys (provider, looked_at) WHERE is_active = 1 AND role IN ('current', 'manual');
CREATE INDEX keys_doubted ON keys (provider, doubted_at) WHERE doubted_at IS NOT NULL;
CREATE INDEX keys_bad ON keys (provider, turned_bad_at) WHERE turned_bad_at IS NOT NULL;

-- When the next test may begin at a host, over all processes.
CREATE TABLE paces (
    host    TEXT PRIMARY KEY,
    free_at BIGINT NOT NULL
);
