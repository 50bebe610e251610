-- Keys that wait for somebody without a run that says so (rotation.md R17): found without a look at all others.
CREATE INDEX keys_retiring ON keys (rotation) WHERE role = 'retiring';
CREATE INDEX keys_dead_current ON keys (rotation) WHERE role = 'current' AND verdict = 'invalid';
