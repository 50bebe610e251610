-- What is over leaves in small steps, found by index.

-- Looks that are counted in the table below; of those only such as showed something new are kept.
ALTER TABLE observations ADD COLUMN tallied BIGINT NOT NULL DEFAULT 0;
CREATE INDEX observations_untallied ON observations (at, id) WHERE tallied = 0;

-- What many looks at a key come to: a row has the hours of one day, or the days of 32 (`span`), from this moment on. `doc`
-- is a page of domain/verdict/tally, as text.
CREATE TABLE test_tallies (
    key_id TEXT   NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    span   TEXT   NOT NULL CHECK (span IN ('hours', 'days')),
    at     BIGINT NOT NULL,
    doc    TEXT   NOT NULL,
    PRIMARY KEY (key_id, span, at)
);
CREATE INDEX test_tallies_at ON test_tallies (span, at);

CREATE INDEX runs_over ON runs (finished_at) WHERE is_open = 0;
CREATE INDEX requests_run ON requests (run);
CREATE INDEX alerts_over ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;
CREATE INDEX messages_created ON messages (created_at);
CREATE INDEX notices_unmailed ON notices (at, id) WHERE mailed = 0;
CREATE INDEX notices_unhooked ON notices (at, id) WHERE hooked = 0;
CREATE INDEX hand_outs_minute ON hand_outs (minute);
CREATE INDEX keys_buried ON keys (updated_at) WHERE role = 'dead';
