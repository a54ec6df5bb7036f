-- A row per address; the next free one is the first that nobody has locked.
-- keeps: SELECT count(key) FROM {table}
\set a random(1000000, 1000000000)
UPDATE {table} SET key = lpad(:a::text, 32, '0')::uuid WHERE address = (SELECT address FROM {table} WHERE key IS NULL ORDER BY address LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING address \gset
UPDATE {table} SET key = NULL WHERE key = lpad(:a::text, 32, '0')::uuid RETURNING address \gset
