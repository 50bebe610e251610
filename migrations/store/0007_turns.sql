-- Who of another process waits for a lease (rotation.md R22): the highest class, 0 for nobody, and when that was last
-- said. The holder of a lower class gives way after its step; whoever takes the lease clears it.
ALTER TABLE leases ADD COLUMN waiting BIGINT NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN waiting_at BIGINT NOT NULL DEFAULT 0;
-- Which daemons live, and what their configurations say of each rotation: a command line beside one leaves the work to it.
CREATE TABLE daemons (
    owner TEXT NOT NULL PRIMARY KEY,
    policies TEXT NOT NULL,
    seen_at BIGINT NOT NULL
);
