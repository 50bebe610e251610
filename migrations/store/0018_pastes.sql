-- What somebody pasted to be stored, between its preview and its end: sealed, of one session, for minutes, used once.
CREATE TABLE pastes (
    id         TEXT PRIMARY KEY,
    session_id TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    text       TEXT   NOT NULL,
    made_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX pastes_session ON pastes (session_id);
CREATE INDEX pastes_made ON pastes (made_at);

-- How the providers answer is read in this index alone; it finds what the one before it found.
CREATE INDEX keys_answering ON keys (provider, looked_at, latency_ms) WHERE is_active = 1 AND role IN ('current', 'manual');
DROP INDEX keys_looked;
