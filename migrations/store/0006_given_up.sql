-- A kill that can no longer land, and of which nobody could see what came, holds up no other (rotation.md, the guard).
DROP INDEX effects_one_kill;
CREATE UNIQUE INDEX effects_one_kill ON effects (account)
    WHERE kind IN ('disable', 'delete') AND status IN ('intended', 'unknown') AND finished_at IS NULL;
