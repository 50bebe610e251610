-- Who of another process waits for a lease (rotation.md R22): the highest class, 0 for nobody, and when that was last
-- said. The holder of a lower class gives way after its step; whoever takes the lease clears it.
ALTER TABLE leases ADD COLUMN waiting BIGINT NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN waiting_at BIGINT NOT NULL DEFAULT 0;

-- Daemons that live: what the configuration of each says of every rotation, as fingerprints (a command line beside one
-- leaves the work to it), and the names of the encryption keys that it has. What stood in the former table held for
-- seconds, and is said anew.
DROP TABLE processes;
CREATE TABLE daemons (
    owner           TEXT PRIMARY KEY,
    policies        TEXT   NOT NULL,
    encryption_keys TEXT   NOT NULL,
    seen_at         BIGINT NOT NULL
);
