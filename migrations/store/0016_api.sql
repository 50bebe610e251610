-- Pages ask every second what happened in the last ones.
CREATE INDEX notices_at ON notices (at, id);
