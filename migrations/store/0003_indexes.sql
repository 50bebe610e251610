-- What every step, every kill and every listing asks: the answer costs what is asked for, not what was ever stored.
-- Tombstones, names of creates and ended runs stay for ever.

CREATE INDEX keys_by_hash ON keys (hash);
CREATE INDEX keys_living_of_account ON keys (account, role) WHERE role <> 'dead';
CREATE INDEX keys_living_of_provider ON keys (provider) WHERE role <> 'dead';

CREATE INDEX effects_open ON effects (account) WHERE status IN ('intended', 'unknown');
CREATE INDEX effects_creates ON effects (account) WHERE kind = 'create';
CREATE INDEX effects_kills ON effects (account, started_at) WHERE kind IN ('disable', 'delete');

CREATE INDEX holdings_rotation ON holdings (rotation, address, seq);
CREATE INDEX holdings_key ON holdings (key_id);

CREATE INDEX runs_ended ON runs (rotation, finished_at, id) WHERE is_open = 0;
CREATE INDEX runs_started ON runs (started_at, id);
CREATE INDEX runs_open ON runs (wake_at, id) WHERE is_open = 1;
CREATE INDEX requests_open ON requests (run) WHERE handled_at IS NULL;

CREATE INDEX audit_newest ON audit (at, id);
CREATE INDEX alerts_open ON alerts (opened_at, id) WHERE resolved_at IS NULL;
