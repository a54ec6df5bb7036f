-- An UPDATE of a table without a guard.
\set i random(1, {size})
UPDATE plain SET payload = payload || '{"n": 8}', resource_version = resource_version + 1 WHERE id = 'k' || :i RETURNING *;
