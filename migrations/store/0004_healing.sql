-- A person may hold the healing of a rotation, too.
ALTER TABLE rotations ADD COLUMN healing_paused BIGINT NOT NULL DEFAULT 0;
CREATE INDEX runs_account ON runs (account, started_at);
