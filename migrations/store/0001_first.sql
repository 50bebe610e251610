-- The store of rekeyd, version 1. One SQL dialect for SQLite and PostgreSQL: ids and JSON are TEXT, times are
-- BIGINT milliseconds since 1970, flags are BIGINT 0 or 1, secrets are Fernet tokens (TEXT). This file and its
-- twin under the other database's name are the same text.

-- Facts about this database: instance, sealed fingerprint key, sealed canary.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- The right of one process to work on one account, run or queue, for a while. The fence only grows.
CREATE TABLE leases (
    resource   TEXT PRIMARY KEY,
    owner      TEXT   NOT NULL,
    fence      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- A provider account by its identity (rotation.md R8), and the freeze (R9).
CREATE TABLE accounts (
    identity      TEXT PRIMARY KEY,
    frozen        BIGINT NOT NULL DEFAULT 0,
    frozen_reason TEXT,
    created_at    BIGINT NOT NULL
);

-- Which identity an entry of the configuration showed when it was last used.
CREATE TABLE account_entries (
    name     TEXT PRIMARY KEY,
    identity TEXT   NOT NULL REFERENCES accounts (identity),
    seen_at  BIGINT NOT NULL
);

-- Keys at the provider that a person declared foreign (thaw): never to be swept.
CREATE TABLE foreign_keys (
    account TEXT   NOT NULL,
    hash    TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (account, hash)
);

CREATE TABLE providers (
    name        TEXT PRIMARY KEY,
    kind        TEXT   NOT NULL,
    base_url    TEXT,
    next_number BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);

-- One stored secret of a provider. Generations of a rotation are keys too; a dead one is a tombstone.
CREATE TABLE keys (
    id            TEXT PRIMARY KEY,
    provider      TEXT   NOT NULL REFERENCES providers (name),
    number        BIGINT,
    name          TEXT   NOT NULL,
    priority      BIGINT NOT NULL,
    is_active     BIGINT NOT NULL,
    settings      TEXT   NOT NULL,
    secret        TEXT,
    api_secret    TEXT,
    fingerprint   TEXT,
    mask          TEXT   NOT NULL,
    hash          TEXT,
    account       TEXT,
    rotation      TEXT,
    generation    BIGINT,
    role          TEXT   NOT NULL CHECK (role IN ('manual', 'candidate', 'current', 'retiring', 'dead')),
    origin        TEXT   NOT NULL CHECK (origin IN ('created', 'adopted', 'given')),
    issued_name   TEXT,
    verdict       TEXT   NOT NULL,
    detail        TEXT,
    test          TEXT,
    health        TEXT,
    latency_ms    BIGINT,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX keys_number ON keys (provider, number) WHERE number IS NOT NULL;
CREATE UNIQUE INDEX keys_hash ON keys (account, hash) WHERE hash IS NOT NULL AND account IS NOT NULL;
CREATE UNIQUE INDEX keys_generation ON keys (rotation, generation) WHERE rotation IS NOT NULL;
CREATE UNIQUE INDEX keys_one_current ON keys (rotation) WHERE role = 'current';
CREATE INDEX keys_fingerprint ON keys (fingerprint);

-- What each test of a key showed. Names and figures only; pruned after [tests] history.
CREATE TABLE observations (
    id             TEXT PRIMARY KEY,
    key_id         TEXT   NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    at             BIGINT NOT NULL,
    outcome        TEXT   NOT NULL,
    reason         TEXT,
    status         BIGINT,
    provider_code  TEXT,
    latency_ms     BIGINT NOT NULL,
    retry_after_ms BIGINT,
    detail         TEXT   NOT NULL
);
CREATE INDEX observations_key ON observations (key_id, at);
CREATE INDEX observations_at ON observations (at);

-- What tests remember between passes of whole providers ('provider:NAME') and of the provisioning keys of
-- entries of the configuration ('account:NAME'); `doc` is a value of domain/verdict as JSON.
CREATE TABLE provider_health (
    subject    TEXT PRIMARY KEY,
    doc        TEXT   NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Where the provisioning key of an account was published to (GitHub, for scripts). The key itself is never
-- stored: only its hash, which the provider knows anyway, and the destination's evidence.
CREATE TABLE provisioning_copies (
    address     TEXT PRIMARY KEY,
    account     TEXT   NOT NULL,
    destination TEXT   NOT NULL,
    hash        TEXT   NOT NULL,
    writes      BIGINT NOT NULL,
    level       TEXT   NOT NULL,
    evidence    TEXT   NOT NULL,
    error       TEXT,
    attempts    BIGINT NOT NULL,
    not_before  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

-- What the store knows of a rotation; its policy lives in the configuration.
CREATE TABLE rotations (
    name            TEXT PRIMARY KEY,
    account         TEXT,
    key_number      BIGINT,
    last_generation BIGINT NOT NULL DEFAULT 0,
    paused          BIGINT NOT NULL DEFAULT 0,
    needs_adopt     BIGINT NOT NULL DEFAULT 0,
    next_due_at     BIGINT,
    healed_at       BIGINT,
    -- What its current key was allowed when the provider last showed it (R10: a successor inherits it).
    spec            TEXT,
    updated_at      BIGINT NOT NULL
);

-- One pass of a rotation. `doc` is the run of domain/rotation as JSON; the other columns repeat it for queries.
CREATE TABLE runs (
    id                  TEXT PRIMARY KEY,
    rotation            TEXT   NOT NULL REFERENCES rotations (name),
    account             TEXT   NOT NULL,
    cause               TEXT   NOT NULL,
    due_at              BIGINT,
    state               TEXT   NOT NULL,
    is_open             BIGINT NOT NULL,
    doc                 TEXT   NOT NULL,
    wake_at             BIGINT NOT NULL,
    fence               BIGINT NOT NULL,
    generation          BIGINT,
    previous_generation BIGINT,
    blockers            TEXT   NOT NULL,
    error               TEXT,
    started_at          BIGINT NOT NULL,
    finished_at         BIGINT
);
CREATE UNIQUE INDEX runs_one_open ON runs (rotation) WHERE is_open = 1;
CREATE UNIQUE INDEX runs_due ON runs (rotation, due_at) WHERE due_at IS NOT NULL;

-- The journal. A row is committed as 'intended' before the call and settled after it. Names are never pruned.
CREATE TABLE effects (
    id          TEXT PRIMARY KEY,
    run         TEXT,
    account     TEXT   NOT NULL,
    kind        TEXT   NOT NULL CHECK (kind IN ('create', 'publish', 'disable', 'enable', 'delete', 'deploy', 'limit')),
    target      TEXT   NOT NULL,
    status      TEXT   NOT NULL CHECK (status IN ('intended', 'done', 'failed', 'unknown')),
    attempt     BIGINT NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT,
    evidence    TEXT   NOT NULL
);
CREATE UNIQUE INDEX effects_one_create ON effects (target) WHERE kind = 'create';
CREATE UNIQUE INDEX effects_one_kill ON effects (account)
    WHERE kind IN ('disable', 'delete') AND status IN ('intended', 'unknown');
CREATE INDEX effects_run ON effects (run);

-- What was sent to an address for a key, and what was proved. Belongs to the address, not to its name (R14).
CREATE TABLE holdings (
    address     TEXT   NOT NULL,
    key_id      TEXT   NOT NULL REFERENCES keys (id),
    destination TEXT   NOT NULL,
    rotation    TEXT   NOT NULL,
    seq         BIGINT NOT NULL,
    level       TEXT   NOT NULL,
    evidence    TEXT   NOT NULL,
    checked     TEXT,
    drift       TEXT,
    error       TEXT,
    permanent   BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    not_before  BIGINT NOT NULL,
    released    BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (address, key_id)
);
CREATE UNIQUE INDEX holdings_seq ON holdings (address, seq);

-- What persons asked of runs.
CREATE TABLE requests (
    id         TEXT PRIMARY KEY,
    run        TEXT   NOT NULL REFERENCES runs (id),
    request    TEXT   NOT NULL,
    actor      TEXT   NOT NULL,
    asked_at   BIGINT NOT NULL,
    handled_at BIGINT,
    answer     TEXT
);

CREATE TABLE alerts (
    id          TEXT PRIMARY KEY,
    kind        TEXT   NOT NULL,
    severity    TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    account     TEXT,
    rotation    TEXT,
    detail      TEXT   NOT NULL,
    opened_at   BIGINT NOT NULL,
    acked_at    BIGINT,
    acked_by    TEXT,
    reminded_at BIGINT,
    resolved_at BIGINT
);
CREATE UNIQUE INDEX alerts_one_open ON alerts (kind, subject) WHERE resolved_at IS NULL;

-- The outbox: one row for each event of an alert that people are told about, written in the transaction of the
-- event itself (I12). `mailed` and `hooked`: 0 waits, 1 is in a message, 2 is left out.
CREATE TABLE notices (
    id       TEXT PRIMARY KEY,
    alert    TEXT   NOT NULL REFERENCES alerts (id),
    event    TEXT   NOT NULL CHECK (event IN ('opened', 'escalated', 'reminded', 'resolved')),
    severity TEXT   NOT NULL,
    detail   TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    mailed   BIGINT NOT NULL,
    hooked   BIGINT NOT NULL
);
CREATE INDEX notices_alert ON notices (alert);
CREATE INDEX notices_waiting ON notices (at) WHERE mailed = 0 OR hooked = 0;

-- A mail or a webhook call as it goes out, however many attempts it takes: neither its id nor its text changes.
CREATE TABLE messages (
    id          TEXT PRIMARY KEY,
    channel     TEXT   NOT NULL CHECK (channel IN ('mail', 'webhook')),
    message_id  TEXT   NOT NULL UNIQUE,
    in_reply_to TEXT,
    thread      TEXT   NOT NULL,
    recipients  TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    plain       TEXT   NOT NULL,
    html        TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);

-- Which notices a message carries.
CREATE TABLE message_notices (
    message TEXT NOT NULL REFERENCES messages (id),
    notice  TEXT NOT NULL REFERENCES notices (id),
    PRIMARY KEY (message, notice)
);
CREATE INDEX message_notices_notice ON message_notices (notice);

-- How far a message is with each recipient.
CREATE TABLE deliveries (
    message    TEXT   NOT NULL REFERENCES messages (id),
    recipient  TEXT   NOT NULL,
    attempts   BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    refused    BIGINT NOT NULL,
    error      TEXT,
    sent_at    BIGINT,
    PRIMARY KEY (message, recipient)
);
CREATE INDEX deliveries_open ON deliveries (not_before) WHERE sent_at IS NULL;

-- Every change of state writes one row here, in the same transaction (I12).
CREATE TABLE audit (
    id      TEXT PRIMARY KEY,
    at      BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    action  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    detail  TEXT   NOT NULL
);
