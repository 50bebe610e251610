-- One record for each address, whoever writes there: a rotation, a mirror, a person (rotation.md, R20). `addresses` has
-- what is the address's own: how many writes it saw, and how somebody else changed it since the last of them.
-- `holdings` are its writes in order, one row a key: who wrote it last, and what was proved. A key may leave the store
-- while it stands somewhere: so a row has its fingerprint, and needs no row of the key.
CREATE TABLE addresses (
    address    TEXT PRIMARY KEY,
    writes     BIGINT NOT NULL,
    drift      TEXT,
    updated_at BIGINT NOT NULL
);
-- A fresh write took drift from all rows of its address: what is left is newer than every write.
INSERT INTO addresses (address, writes, drift, updated_at)
SELECT h.address, MAX(h.seq),
       (SELECT MAX(d.drift) FROM holdings d WHERE d.address = h.address AND d.drift IS NOT NULL
          AND d.seq = (SELECT MAX(e.seq) FROM holdings e WHERE e.address = h.address AND e.drift IS NOT NULL)),
       MAX(h.updated_at)
FROM holdings h GROUP BY h.address;

CREATE TABLE new_holdings (
    address     TEXT   NOT NULL REFERENCES addresses (address),
    key_id      TEXT   NOT NULL,
    fingerprint TEXT,
    destination TEXT   NOT NULL,
    writer      TEXT   NOT NULL,
    seq         BIGINT NOT NULL,
    level       TEXT   NOT NULL,
    evidence    TEXT   NOT NULL,
    checked     TEXT,
    error       TEXT,
    permanent   BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    not_before  BIGINT NOT NULL,
    wait_set_at BIGINT NOT NULL DEFAULT 0,
    released    BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (address, key_id)
);
INSERT INTO new_holdings (address, key_id, fingerprint, destination, writer, seq, level, evidence, checked, error,
    permanent, attempts, not_before, wait_set_at, released, updated_at)
SELECT h.address, h.key_id, k.fingerprint, h.destination, h.rotation, h.seq, h.level, h.evidence, h.checked, h.error,
    h.permanent, h.attempts, h.not_before, h.wait_set_at, h.released, h.updated_at
FROM holdings h LEFT JOIN keys k ON k.id = h.key_id;
DROP TABLE holdings;
ALTER TABLE new_holdings RENAME TO holdings;
CREATE UNIQUE INDEX holdings_seq ON holdings (address, seq);
CREATE INDEX holdings_key ON holdings (key_id);
CREATE INDEX holdings_writer ON holdings (writer);
