-- What /metrics counts at each scrape, and what lists are sorted by.
CREATE INDEX keys_created ON keys (created_at, id) WHERE role <> 'dead';
CREATE INDEX runs_outcomes ON runs (rotation, state, finished_at) WHERE is_open = 0;
CREATE INDEX effects_outcomes ON effects (kind, status);
CREATE INDEX alerts_opened ON alerts (opened_at, id);

-- Answers to requests with an Idempotency-Key: no secret is in them. The request is a keyed hash.
CREATE TABLE repeats (
    caller   TEXT   NOT NULL,
    name     TEXT   NOT NULL,
    request  TEXT   NOT NULL,
    status   BIGINT,
    answer   TEXT,
    began_at BIGINT NOT NULL,
    PRIMARY KEY (caller, name)
);
CREATE INDEX repeats_began ON repeats (began_at);
