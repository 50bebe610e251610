-- Waits remember when they were set (rotation.md R18): one that was set in the future is over. What version 1 noted has
-- no such moment, and simply ends when it ends.
ALTER TABLE leases ADD COLUMN granted_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN wake_set_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE holdings ADD COLUMN wait_set_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE provisioning_copies ADD COLUMN wait_set_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN wait_set_at BIGINT NOT NULL DEFAULT 0;
