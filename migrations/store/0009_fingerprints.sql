-- A secret that left the store and comes back is looked for at every address where it may still stand.
CREATE INDEX holdings_fingerprint ON holdings (fingerprint);
