-- People, their sessions, and tokens of programs. A session and a token are kept as a SHA-256 of 256 random bits: who
-- reads the database can use none of them. `seal` is a keyed hash of what the row says that somebody may: who writes the
-- database cannot make one.
CREATE TABLE users (
    id          TEXT PRIMARY KEY,
    email       TEXT   NOT NULL,
    role        TEXT   NOT NULL,
    password    TEXT,
    seal        TEXT   NOT NULL,
    disabled_at BIGINT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX users_email ON users (email);

CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    hash       TEXT   NOT NULL,
    user_id    TEXT   NOT NULL REFERENCES users (id),
    address    TEXT,
    seal       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX sessions_hash ON sessions (hash);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT   NOT NULL,
    hash       TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    providers  TEXT,
    owner      TEXT   REFERENCES users (id),
    seal       TEXT   NOT NULL,
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    used_at    BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE UNIQUE INDEX tokens_name ON tokens (name) WHERE revoked_at IS NULL;
CREATE INDEX tokens_owner ON tokens (owner);

-- Where somebody has logged in before: strangers who guess at a password do not lock them out there.
CREATE TABLE known_addresses (
    user_id TEXT   NOT NULL REFERENCES users (id),
    address TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (user_id, address)
);

-- Rate limits, over all replicas: how much of a window is used.
CREATE TABLE limits (
    policy     TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    started_at BIGINT NOT NULL,
    used       BIGINT NOT NULL,
    PRIMARY KEY (policy, subject)
);
CREATE INDEX limits_started ON limits (started_at);

-- By which way, from where, how it ended, and what changed.
ALTER TABLE audit ADD COLUMN via TEXT NOT NULL DEFAULT 'daemon';
ALTER TABLE audit ADD COLUMN address TEXT;
ALTER TABLE audit ADD COLUMN request_id TEXT;
ALTER TABLE audit ADD COLUMN outcome TEXT NOT NULL DEFAULT 'done';
ALTER TABLE audit ADD COLUMN before_change TEXT;
ALTER TABLE audit ADD COLUMN after_change TEXT;
UPDATE audit SET via = 'cli' WHERE actor LIKE 'cli:%';
